-- The script is loaded anew while clients are connected.
local harness = require("harness")
local lfs = require("lfs")
local raw = require("raw")
local server = require("server")

-- Answers with its number, many times over; a stream says it each time that it is told to go on.
local function script(number, extra)
  return ([[
local tg = require("tidegate")
local NUMBER = "%s"
local go_on
%s
return {
  routes = {
    { "/", get = function() return { body = NUMBER } end },
    { "/long", get = function()
      return { body = function(out) for _ = 1, 20 do out:write(NUMBER, " ") tg.sleep(0.001) end end }
    end },
    { "/stream", get = function()
      return { body = function(out)
        for _ = 1, 2 do
          out:write(NUMBER, "\n")
          tg.wait(function(resume) go_on = resume end)
        end
      end }
    end },
    { "/go-on", get = function() return { body = tostring(go_on and go_on()) } end },
  },
}
]]):format(number, extra or "")
end

local function rename_over(path, text)
  server.write(path .. ".new", text)
  assert(os.rename(path .. ".new", path))
end

describe("a reload", function()
  local function get(s, path) return raw.get(s.port, path).body end

  local function reload(s, text)
    if text then server.write(s.script, text) end
    local seen = #s:log()
    s:kill("HUP")
    return (s:wait_log("reload: ", nil, seen + 1))
  end

  it("serves the new script, and says what has changed in its routes (B56)", function()
    local s <close> = server.start({ script = script(1) })
    local line = reload(s, script(2):gsub('"/go%-on"', '"/going"'))
    assert.matches("reload: .*app.lua: generation 2 in [%d.]+ ms; routes: %+GET /going %-GET /go%-on$", line)
    assert.equal("2", get(s, "/"))
    assert.matches("generation 3 in [%d.]+ ms; routes: the same$", reload(s))
  end)

  it("fails no request under load, and each is answered by one generation as a whole (B56)", function()
    local s <close> = server.start({ script = script(1), workers = 2, args = { "--quiet" } })
    local check = s.dir .. "/check.lua"
    server.write(check, [[
      local bad, threads = 0, {}
      function setup(thread) threads[#threads + 1] = thread end
      function init() mixed = 0 end
      function response(status, _, body)
        local first = body:match("^%d+ ")
        if status ~= 200 or not first or body ~= first:rep(20) then mixed = mixed + 1 end
      end
      function done(summary)
        for _, thread in ipairs(threads) do bad = bad + thread:get("mixed") end
        local e = summary.errors
        print("RESULT", summary.requests, bad, e.connect + e.read + e.write + e.status + e.timeout)
      end
    ]])
    local load <close> = assert(harness.spawn({ "wrk", "-t1", "-c50", "-d4s", "-s", check,
      s.url .. "/long" }, { stdout = "pipe", stderr = "pipe" }))
    for number = 2, 21 do
      assert.matches(("generation %d in"):format(number), reload(s, script(number)))
    end
    assert.equal(0, (load:wait(30)))
    local requests, mixed, errors = load:output("stdout"):match("RESULT%s+(%d+)%s+(%d+)%s+(%d+)")
    assert.is_true(tonumber(requests) > 50, requests)
    assert.same({ "0", "0" }, { mixed, errors })
    assert.equal("21", get(s, "/"))
  end)

  it("lets a stream end on its own code, and frees the old state after the last (B57)", function()
    local ballast = "local ballast = ('x'):rep(48 << 20)"
    local s <close> = server.start({ script = script(1, ballast) })
    local client <close> = assert(raw.connect(s.port))
    assert(client:send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"))
    local response = client:read_head()
    assert.equal("1\n", client:read_chunk(response))
    reload(s, script(2))
    assert.equal("2", get(s, "/"))
    assert.is_true(s:rss() > 48 << 10)

    -- The old generation's wait can be ended by nobody but its own time, or its client.
    local fast <close> = assert(raw.connect(s.port))
    assert(fast:send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"))
    local second = fast:read_head()
    assert.equal("2\n", fast:read_chunk(second))
    assert.equal("true", get(s, "/go-on"))
    assert.equal("2\n", fast:read_chunk(second))
    client:close()
    if not server.sanitized then
      server.eventually(function() return s:rss() < 40 << 10 end)
    end
  end)

  it("of the same script twenty times over leaves no memory behind (B57)", function()
    local s <close> = server.start({ script = script(1, "local ballast = ('x'):rep(4 << 20)") })
    for _ = 1, 5 do reload(s) end
    local before, fds = s:rss(), s:fds()
    for _ = 1, 20 do reload(s) end
    assert.equal(fds, s:fds())
    if not server.sanitized then assert.is_true(s:rss() < before + 8192, s:rss() - before) end
  end)

  for what, broken in pairs({
    ["has a syntax error"] = { "return {", "app.lua:1: .*expected" },
    ["raises while it loads"] = { "\nerror('boom')", "app.lua:2: boom" },
    ["has a bad route"] = { "return { routes = { { 'x' } } }", "app.lua: .*route" },
    ["requires a module that does not load"] = { "require('broken')", "broken.lua:1: .*expected" },
  }) do
    it("of a script that " .. what .. " changes nothing, and says why (B58)", function()
      local s <close> = server.start({ script = script(1), files = { ["broken.lua"] = "return (" } })
      local line = reload(s, broken[1])
      assert.matches("error reload: the last good script serves on: ", line)
      assert.matches(broken[2], line)
      assert.equal("1", get(s, "/"))
      local checked = server.command({ "check", s.script })
      assert.equal(1, checked.exit)
      assert.matches(broken[2], checked.stderr)
      assert.matches("generation 2", reload(s, script(3)))
      assert.equal("3", get(s, "/"))
    end)
  end

  it("of a script that does not end its load is given up, and harms nobody meanwhile (B58)", function()
    local s <close> = server.start({ script = script(1) })
    server.write(s.script, "while true do pcall(function() while true do end end) end")
    s:kill("HUP")
    assert.equal("1", get(s, "/"))
    assert.equal("1", get(s, "/")) -- and the stop at the end of this spec ends the load
  end)

  it("reads modules anew, too: a generation's package.loaded is its own", function()
    local s <close> = server.start({
      script = [[local m = require("part")
        return { routes = { { "/", get = function() return { body = m } end } } }]],
      files = { ["part.lua"] = "return 'one'" },
    })
    assert.equal("one", get(s, "/"))
    server.write(s.dir .. "/part.lua", "return 'two'")
    reload(s)
    assert.equal("two", get(s, "/"))
  end)

  it("warns of what it does not change: listen and workers", function()
    local text = [[return { listen = "%s", workers = %d,
      routes = { { "/", get = function() return { body = "x" } end } } }]]
    local s <close> = server.start({ script = text:format("127.0.0.1:0", 1), listen = {}, workers = false })
    reload(s, text:format("127.0.0.1:1", 2))
    s:wait_log("warn reload: listen has changed: that takes a restart")
    s:wait_log("warn reload: workers has changed: that takes a restart")
  end)

  it("does not warn of what the command line says in the script's place", function()
    local text = [[return { listen = "127.0.0.1:%d", workers = %d,
      routes = { { "/", get = function() return { body = "x" } end } } }]]
    local s <close> = server.start({ script = text:format(1, 1), workers = 2 })
    reload(s, text:format(2, 3))
    reload(s, text:format(2, 3))
    assert.is_nil(s:log_text():find("restart", 1, true))
  end)

  it("takes the new script's limits", function()
    local s <close> = server.start({ script = script(1) })
    reload(s, script(2):gsub("return {", "return { limits = { target_bytes = 100 },", 1))
    assert.equal("2", get(s, "/"))
    assert.equal(414, raw.get(s.port, "/" .. ("x"):rep(200)).status)
  end)
end)

describe("--watch", function()
  local function generation(s, number)
    s:wait_log(("reload: .*generation %d in"):format(number))
  end

  local function start(options)
    options.args = { "--watch" }
    return server.start(options)
  end

  it("sees a save by write and one by rename, of the script (B59)", function()
    local s <close> = start({ script = script(1) })
    server.write(s.script, script(2))
    generation(s, 2)
    rename_over(s.script, script(3))
    generation(s, 3)
    assert.equal("3", raw.get(s.port, "/").body)
  end)

  it("sees a save of a module, one that is required later among them, and of one that is broken (B59)", function()
    local dir = server.folder()
    finally(function() server.remove_folder(dir) end)
    lfs.mkdir(dir .. "/lib")
    server.write(dir .. "/lib/part.lua", "return 'a'")
    server.write(dir .. "/late.lua", "return 'x'")
    server.write(dir .. "/app.lua", [[local part = require("lib.part")
      return { routes = { { "/", get = function() return { body = part .. require("late") } end } } }]])
    local w <close> = start({ file = dir .. "/app.lua" })
    assert.equal("ax", raw.get(w.port, "/").body)
    rename_over(dir .. "/lib/part.lua", "return 'b'")
    generation(w, 2)
    assert.equal("bx", raw.get(w.port, "/").body)
    server.write(dir .. "/late.lua", "return 'y'")
    generation(w, 3)
    server.write(dir .. "/lib/part.lua", "return (")
    w:wait_log("reload: the last good script serves on: .*part.lua:1:")
    server.write(dir .. "/lib/part.lua", "return 'c'")
    generation(w, 4)
    assert.equal("cy", raw.get(w.port, "/").body)
  end)

  it("takes a save in several steps for one, and none for what is not its own (B59)", function()
    local s <close> = start({ script = script(1) })
    for number = 2, 6 do server.write(s.script, script(number)) end
    generation(s, 2)
    assert.equal("6", raw.get(s.port, "/").body)
    server.write(s.dir .. "/other.lua", "return 1")
    server.write(s.script, script(7))
    generation(s, 3)
    assert.equal("7", raw.get(s.port, "/").body)
    assert.is_nil(s:log_text():find("generation 4"))
  end)

  it("follows a link to the script, when it is moved and when its target is saved (B59)", function()
    local dir = server.folder()
    finally(function() server.remove_folder(dir) end)
    lfs.mkdir(dir .. "/a")
    lfs.mkdir(dir .. "/b")
    server.write(dir .. "/a/app.lua", script(1))
    server.write(dir .. "/b/app.lua", script(2))
    assert(lfs.link("a/app.lua", dir .. "/app.lua", true))
    local s <close> = start({ file = dir .. "/app.lua" })
    server.write(dir .. "/a/app.lua", script(11))
    generation(s, 2)
    assert.equal("11", raw.get(s.port, "/").body)
    assert(lfs.link("b/app.lua", dir .. "/next", true))
    assert(os.rename(dir .. "/next", dir .. "/app.lua"))
    generation(s, 3)
    assert.equal("2", raw.get(s.port, "/").body)
  end)
end)
