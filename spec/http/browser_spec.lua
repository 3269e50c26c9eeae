-- A real browser's EventSource, and a well-known client library's, against tg.sse.
local browser = require("browser")
local harness = require("harness")
local lfs = require("lfs")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local room, opened, cut = tg.topic("room", { history = 10000 }), {}, nil

--- Streams the room until somebody says how to end it: "break" breaks the connection off.
local read = tg.sse(function(events)
  opened[#opened + 1] = events.last_id or "none"
  local how = tg.race({
    function() events:subscribe(room) end,
    function() return tg.wait(function(go) cut = go end) end,
  })
  if how == "break" then error("broken off") end
end, { retry = 50 })

local PAGE = [=[<!doctype html><meta charset="utf-8"><title>spec</title><script>
  const got = [], named = [], states = []
  const source = new EventSource("/read")
  source.onopen = () => states.push("open")
  source.onerror = () => states.push("error")
  source.onmessage = event => got.push({ data: event.data, id: event.lastEventId })
  source.addEventListener("named", event => named.push(event.data))
</script>]=]

return { routes = {
  { "/", get = function() return { body = PAGE, headers = { ["Content-Type"] = "text/html" } } end },
  { "/read", get = read },
  { "/publish", post = function(request)
    for i = tonumber(request.query.from), tonumber(request.query.to) do room:publish(tostring(i)) end
    return { body = "" }
  end },
  { "/event", post = function(request)
    return { body = room:publish({ event = request.query.event, data = request.body:all() }) }
  end },
  { "/cut", post = function(request)
    return { body = tostring(cut(request.query.how)) }
  end },
  { "/opened", get = function() return { body = table.concat(opened, ",") } end },
  { "/subscribers", get = function() return { body = tostring(room:subscribers()) } end },
} }
]]

local function post(s, path, body)
  local response = assert(raw.request(s.port, ("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"):format(
    path, #(body or ""), body or ""), 20))
  assert.is_true(response.status < 300, response.body)
  return response.body
end

local function get(s, path) return assert(raw.get(s.port, path, 20)).body end

local function await_subscribers(s, count)
  server.eventually(function() return get(s, "/subscribers") == tostring(count) end, 30)
end

--- Publishes 1 to count, and has the stream end or break off again and again meanwhile.
local function publish_with_cuts(s, count, cuts)
  local from = 1
  for i = 1, cuts do
    local to = count * i // cuts
    local middle = (from + to) // 2
    post(s, ("/publish?from=%d&to=%d"):format(from, middle))
    assert.equal("true", post(s, "/cut?how=" .. (i % 2 == 0 and "break" or "end")))
    post(s, ("/publish?from=%d&to=%d"):format(middle + 1, to))
    await_subscribers(s, 1)
    from = to + 1
  end
end

--- The ids that the client has come back with: one each time, and none but the first is missing.
local function check_ids(s, cuts)
  local ids = {}
  for id in get(s, "/opened"):gmatch("[^,]+") do ids[#ids + 1] = id end
  assert.equal(cuts + 1, #ids)
  assert.equal("none", ids[1])
  for i = 2, #ids do assert.is_true(ids[i] ~= "none", "came back without an id") end
end

describe("Chromium's EventSource", function()
  local b

  setup(function() b = browser.start() end)
  teardown(function() b:close() end)

  it("gets every event once, in order, over a stream that ends and breaks off again and again (B48)", function()
    local s <close> = server.start({ script = SCRIPT })
    local count, cuts = 2000, 8
    b:go(s.url .. "/")
    await_subscribers(s, 1)
    publish_with_cuts(s, count, cuts)
    local got = b:eventually("return got.length >= arguments[0] && got", count)
    assert.equal(count, #got)
    local ids = {}
    for i, event in ipairs(got) do
      assert.equal(tostring(i), event.data)
      assert.is_nil(ids[event.id])
      ids[event.id] = true
    end
    check_ids(s, cuts)
    assert.is_true(b:run("return states.filter(s => s == 'open').length") == cuts + 1)
    b:run("source.close()")
    await_subscribers(s, 0)
  end)

  it("gets what is in an event as it was sent (B43, B48)", function()
    local s <close> = server.start({ script = SCRIPT })
    b:go(s.url .. "/")
    await_subscribers(s, 1)
    local texts = { "a\nb", "a\r\nb\rc", "trailing\n", " spaces ", ": no comment", "data: x", "", "é😀\u{2028}\u{feff}",
      ("long "):rep(20000), "a\0b" }
    for _, text in ipairs(texts) do post(s, "/event", text) end
    post(s, "/event?event=named", "by name")
    assert.same({ "by name" }, b:eventually("return named.length && named"))
    local got = b:run("return got.map(event => event.data)")
    for i, text in ipairs(texts) do
      assert.equal((text:gsub("\r\n?", "\n")), got[i])
    end
    assert.equal(#texts, #got)
    b:run("source.close()")
  end)

  it("reads examples/chat.lua in two windows, through a stop of the server (B48)", function()
    local first = server.start({ file = "examples/chat.lua" })
    local port, windows = first.port, { b:window(), b:new_window() }
    local SAID = "return [...document.querySelectorAll('#said li')].map(l => l.firstChild.textContent + l.childNodes[1].textContent)"
    local function said(window, count)
      b:use(windows[window])
      return b:eventually("const l = (() => { " .. SAID .. " })(); return l.length >= arguments[0] && l", count)
    end
    local function say(window, name, text)
      b:use(windows[window])
      b:run("document.getElementById('name').value = ''")
      b:type("#name", name)
      b:type("#text", text)
      b:click("button")
      b:eventually("return document.getElementById('text').value == ''")
    end
    for i = 1, 2 do
      b:use(windows[i])
      b:go(first.url .. "/#spec")
      b:eventually("return document.getElementById('state').textContent == 'connected'")
    end
    say(1, "Ann", "hello <b>you</b>")
    say(2, "Bob", "hello yourself: \"&\"")
    local wanted = { "Ann: hello <b>you</b>", 'Bob: hello yourself: "&"' }
    assert.same(wanted, said(1, 2))
    assert.same(wanted, said(2, 2))

    first:stop()
    b:eventually("return document.getElementById('state').textContent == 'coming back'")
    local again <close> = server.start({ file = "examples/chat.lua", listen = "127.0.0.1:" .. port })
    for i = 1, 2 do
      b:use(windows[i])
      b:eventually("return document.getElementById('state').textContent == 'connected'")
    end
    say(1, "Ann", "still there?")
    wanted[3] = "Ann: still there?"
    assert.same(wanted, said(2, 3))
    assert.same(wanted, said(1, 3))
    b:ask("DELETE", "/window")
    b:use(windows[2])
    b:go("about:blank")
    assert.equal(again.port, port)
  end)
end)

-- https://www.npmjs.com/package/eventsource, of the version that .ci/deps says.
local CLIENT = [[
const { EventSource } = require(process.argv[2] + "/node_modules/eventsource")
const [url, count] = [process.argv[3], Number(process.argv[4])]
const source = new EventSource(url)
let got = 0
source.onerror = event => console.log("error " + (event.message || "closed"))
source.onmessage = event => {
  console.log(event.data + " " + event.lastEventId)
  if (++got >= count) setTimeout(() => { source.close(); console.log("end") }, 200)
}
]]

describe("npm's eventsource", function()
  it("gets every event once, in order, over a stream that ends and breaks off again and again (B48)", function()
    local s <close> = server.start({ script = SCRIPT, files = { ["client.js"] = CLIENT } })
    local count, cuts = 2000, 8
    local npm = lfs.currentdir() .. "/build/npm"
    local client <close> = assert(harness.spawn(
      { "node", s.dir .. "/client.js", npm, s.url .. "/read", tostring(count) },
      { stdout = "pipe", stderr = "pipe", env = { LD_PRELOAD = false } }))
    local began, why = pcall(await_subscribers, s, 1)
    assert.is_true(began, why and client:output("stderr"))
    publish_with_cuts(s, count, cuts)
    assert.equal(0, client:wait(60))
    local next_one, ids = 1, {}
    for line in client:output("stdout"):gmatch("[^\n]+") do
      local data, id = line:match("^(%d+) (%S+)$")
      if data then
        assert.equal(next_one, tonumber(data))
        assert.is_nil(ids[id])
        ids[id], next_one = true, next_one + 1
      end
    end
    assert.equal(count + 1, next_one)
    check_ids(s, cuts)
  end)
end)
