-- What the README says, done: its curl lines, and the example that they go to.
local curl = require("curl")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

-- The words of a shell line that quotes with ' only.
local function words(line)
  local list, rest = {}, line
  while rest ~= "" do
    local word, after = rest:match("^'([^']*)'%s*(.*)$")
    if not word then word, after = rest:match("^(%S+)%s*(.*)$") end
    list[#list + 1], rest = word, after
  end
  return list
end

local function curl_lines(text, pattern)
  local list = {}
  for line in text:gmatch(pattern) do list[#list + 1] = line end
  return list
end

describe("examples/streaming.lua", function()
  local s

  setup(function() s = server.start({ file = "examples/streaming.lua" }) end)
  teardown(function() s:stop() end)

  local function run(line)
    local arguments = words(line)
    for i, word in ipairs(arguments) do
      arguments[i] = word:gsub("^http://127%.0%.0%.1:8080", s.url)
    end
    return curl.run(arguments)
  end

  for _, line in ipairs(curl_lines(read("examples/streaming.lua"), "%-%- curl ([^\n]*)")) do
    it("answers curl " .. line, function()
      local result = run(line)
      assert.equal(0, result.exit)
      assert.equal(200, result.status)
    end)
  end

  it("answers every curl line of the README's table as it says", function()
    local lines = curl_lines(read("README.md"), "| `curl ([^`]*)` |")
    assert.is_true(#lines >= 9)
    local output = {}
    for _, line in ipairs(lines) do
      local result = run(line)
      assert.equal(200, result.status, line)
      output[line:match("8080/(%w*)")] = output[line:match("8080/(%w*)")] or result
    end
    assert.equal("[0,1,2,3,4,5,6,7,8,9]", output.range.stdout)
    assert.equal(read("examples/streaming.lua"), output.file.stdout)
    assert.matches('"squares":%[1,4,9,16,25%]', output.table.stdout)
    assert.matches("^<svg.*</svg>\n$", output.drawing.stdout)
    assert.equal(read("README.md"), output.echo.stdout)
    assert.is_true(output.slow.time_total > 0.9)
  end)
end)

describe("examples/files.lua", function()
  it("answers each of its curl lines", function()
    local s <close> = server.start({ file = "examples/files.lua" })
    local lines = curl_lines(read("examples/files.lua"), "%-%- curl ([^\n]*)")
    assert.equal(8, #lines)
    for _, line in ipairs(lines) do
      local arguments = words((line:gsub("%-OJ ", "")))
      for i, word in ipairs(arguments) do arguments[i] = word:gsub("^http://127%.0%.0%.1:8080", s.url) end
      local result = curl.run(arguments)
      assert.equal(0, result.exit, line)
      assert.equal(line:find("-r ", 1, true) and 206 or 200, result.status, line)
      assert.is_true(#result.stdout > 0, line)
    end
  end)
end)

describe("examples/lowlevel.lua", function()
  local s

  setup(function() s = server.start({ file = "examples/lowlevel.lua" }) end)
  teardown(function() s:stop() end)

  it("has a curl line for each of its paths, and answers it", function()
    local lines = curl_lines(read("examples/lowlevel.lua"), "%-%- curl ([^\n]*)")
    assert.equal(4, #lines)
    for _, line in ipairs(lines) do
      local arguments = words(line)
      for i, word in ipairs(arguments) do
        arguments[i] = word:gsub("^http://127%.0%.0%.1:8080", s.url)
      end
      assert.equal(200, curl.run(arguments).status, line)
    end
  end)

  it("sends the head, then events over time, and the chain goes on to its end (B36, B37)", timed(function()
    local result = curl.run({ "-iN", s.url .. "/events" })
    assert.matches("Content%-Type: text/event%-stream\r\n", result.stdout)
    assert.matches("\r\n\r\nid: 1\ndata: tick 1\n\nid: 2\n.*id: 4\ndata: tick 4\n\n$", result.stdout)
    assert.is_true(result.time_starttransfer < 0.2 and result.time_total > 0.9)
    assert.matches("/events: %d%.%d%d s, by hand: true$", (s:wait_log("/events: ")))
  end))

  it("adds parts of any type, from any stage", function()
    assert.equal("beginning\n25 %\n50 %\n75 %\nalmost\nthere\ndone\n", curl.run({ s.url .. "/progress" }).stdout)
    assert.equal("hello, world\n", curl.run({ s.url .. "/early" }).stdout)
    assert.equal("an ordinary response\n", curl.run({ s.url .. "/plain" }).stdout)
    assert.matches("by hand: false$", (s:wait_log("/plain: ")))
  end)
end)

describe("examples/gateway.lua", function()
  local a, b, s

  setup(function()
    a = server.start({ file = "examples/backend.lua", args = { "--quiet" } })
    b = server.start({ file = "examples/backend.lua", args = { "--quiet" } })
    s = server.start({ file = "examples/gateway.lua", env = { BACKEND_A = a.url, BACKEND_B = b.url } })
  end)
  teardown(function()
    s:stop()
    a:stop()
    if not b.stopped then b:stop() end
  end)

  it("answers each of its curl lines", function()
    local lines = curl_lines(read("examples/gateway.lua"), "%-%- curl ([^\n]*)")
    assert.equal(6, #lines)
    for _, line in ipairs(lines) do
      local arguments = words(line)
      for i, word in ipairs(arguments) do arguments[i] = word:gsub("^http://127%.0%.0%.1:8080", s.url) end
      assert.equal(200, curl.run(arguments).status, line)
    end
  end)

  it("passes requests on and back, headers rewritten on the way (B75)", function()
    local result = curl.run({ "-i", s.url .. "/api/hello/world" })
    assert.matches('"from":"backend %d+","gateway":"tidegate","path":"/hello/world"', result.stdout)
    assert.is_nil(result.stdout:find("X-Secret", 1, true))
    assert.equal(read("README.md"), curl.run({ "-T", "README.md", s.url .. "/api/echo" }).stdout)
  end)

  it("tells its servers who a member is, whatever the client says, and not by which token (B75)", function()
    local function ask(path, ...)
      return curl.run({ "-H", "X-User: root", s.url .. path, ... })
    end
    local member = { "-H", "Authorization: Bearer swordfish" }
    assert.matches('"user":"grace"', ask("/members/hello/x", table.unpack(member)).stdout)
    assert.is_nil(ask("/api/hello/x", table.unpack(member)).stdout:find('"user"', 1, true))
    local nobody = ask("/members/hello/x", "-i")
    assert.equal(401, nobody.status)
    assert.matches("WWW%-Authenticate: Bearer", nobody.stdout)
    assert.equal(401, ask("/members/hello/x", "-H", "Authorization: Bearer guess").status)
  end)

  it("codes what is long for members, and lets each ask so often (B78)", function()
    local arguments = { "-H", "Authorization: Bearer tea", s.url .. "/members/numbers?count=900" }
    local plain = curl.run(arguments)
    local coded = curl.run(table.move(arguments, 1, 3, 4, { "-i", "-H", "Accept-Encoding: gzip" }))
    assert.equal(900, select(2, plain.stdout:gsub("%d+", "")))
    assert.matches("Content%-Encoding: gzip", coded.stdout)
    assert.is_true(#coded.stdout < #plain.stdout)
    local status
    for _ = 1, 200 do
      status = curl.run(arguments).status
      if status ~= 200 then break end
    end
    assert.equal(429, status)
    arguments[2] = "Authorization: Bearer swordfish"
    assert.equal(200, curl.run(arguments).status)
  end)

  it("makes one document of two, in the time of the slower, its parts as they come (B77)", timed(function()
    local result = curl.run({ "-N", s.url .. "/page" })
    assert.equal('{"quick":[1,2,3],"slow":[1,2,3]}\n', result.stdout)
    assert.is_true(result.time_total < 1.3, "not at the same time") -- 0.9 s and 0.6 s alone
    assert.is_true(result.time_starttransfer < 0.6, "held back")
  end))

  it("goes on without a server that has gone", function()
    b:stop()
    assert.equal('{"quick":null,"slow":[1,2,3]}\n', curl.run({ s.url .. "/page" }).stdout)
    for _ = 1, 8 do assert.equal(200, curl.run({ s.url .. "/api/hello/x" }).status) end
    s:wait_log("warn upstream http", 5) -- left alone, or unhealthy: whichever is first
  end)
end)

describe("examples/readings.lua", function()
  local store, s

  setup(function()
    store = server.start({ file = "examples/store.lua", args = { "--quiet" } })
    s = server.start({ file = "examples/readings.lua", env = { STORE = store.url } })
  end)
  teardown(function()
    s:stop()
    if not store.stopped then store:stop() end
  end)

  local function run(line, ...)
    local arguments = words(line)
    for i, word in ipairs(arguments) do arguments[i] = word:gsub("^http://127%.0%.0%.1:8080", s.url) end
    return curl.run(table.move({ ... }, 1, select("#", ...), #arguments + 1, arguments))
  end

  local function rows(...) return curl.run({ "-H", "Accept: application/x-ndjson", s.url .. "/readings", ... }).stdout end

  it("answers each of its curl lines: what is added is listed, as what is asked for", function()
    local lines = curl_lines(read("examples/readings.lua"), "%-%- curl ([^\n]*)")
    local results = {}
    for n, line in ipairs(lines) do results[n] = run(line) end
    local status = {}
    for n, result in ipairs(results) do status[n] = result.status end
    assert.same({ 201, 201, 422, 200, 200, 200 }, status)
    assert.equal('{"problems":{"gauge":"a name of lower-case letters, digits and hyphens",'
      .. '"metres":"a number from -20 to 20"},"status":422,"title":"the reading is not valid"}', results[3].stdout)
    assert.matches('^%[{"at":%d+,"gauge":"dover","id":1,"metres":1.5},{"at":%d+,"gauge":"calais","id":2,"metres":2.25}%]$',
      results[4].stdout)
    assert.matches("^at,gauge,id,metres\r\n%d+,dover,1,1.5\r\n%d+,calais,2,2.25\r\n$", results[5].stdout)
    assert.matches('^{"at":%d+,"gauge":"dover","id":1,"metres":1.5}\n$', results[6].stdout)
  end)

  it("streams what is more than a page", function()
    local _, before = rows():gsub("\n", "")
    for _ = 1, 120 do
      assert.equal(201, curl.run({ "-d", "gauge=hull", "-d", "metres=0", s.url .. "/readings" }).status)
    end
    local _, after = rows():gsub("\n", "")
    assert.equal(before + 120, after)
  end)

  it("says what is wrong with a request, and only that", function()
    local bad = run("--json '[1' http://127.0.0.1:8080/readings")
    assert.same({ 400, '{"status":400,"title":"the request\'s body is no JSON: it ends too early"}' },
      { bad.status, bad.stdout })
    assert.equal(400, run("--json 5 http://127.0.0.1:8080/readings").status)
    assert.equal(415, run("-d x -H 'Content-Type: text/plain' http://127.0.0.1:8080/readings").status)
  end)

  it("is a 502 without its store, whether it is written to or read (B74)", function()
    store:stop()
    assert.equal(502, run("-d gauge=hull -d metres=1 http://127.0.0.1:8080/readings").status)
    local read_from = run("http://127.0.0.1:8080/readings")
    assert.same({ 502, "Bad Gateway\n" }, { read_from.status, read_from.stdout })
  end)
end)

describe("examples/chat.lua", function()
  it("answers its curl lines: what is said in a room is read there", function()
    local s <close> = server.start({ file = "examples/chat.lua" })
    local lines = curl_lines(read("examples/chat.lua"), "%-%- curl ([^\n]*)")
    assert.equal(2, #lines)
    local function run(line, ...)
      local arguments = words(line)
      for i, word in ipairs(arguments) do arguments[i] = word:gsub("^http://127%.0%.0%.1:8080", s.url) end
      return curl.run(table.move({ ... }, 1, select("#", ...), #arguments + 1, arguments))
    end
    local say = lines[2]:gsub("hello", "hello + <ö>%%21\n")
    assert.equal(204, run(say).status)
    local result = run(lines[1], "--max-time", "1")
    assert.equal(200, result.status)
    assert.matches('^retry: 1000\n\nevent: tidegate%-gap\n.*\ndata: {"at":%d+,"name":"curl","text":"hello %+ <ö>%%21"}\n\n$',
      result.stdout)
    for _, text in ipairs({ "", "  ", ("x"):rep(2001), "\xff" }) do
      assert.equal(422, run(say:gsub("'text=.*'", "'text=" .. text .. "'"), "-d", "name=x").status)
    end
    assert.equal(404, curl.run({ s.url .. "/rooms/No%20Room/events" }).status)
    assert.matches("<title>Chat</title>", curl.run({ s.url .. "/" }).stdout)
  end)
end)

describe("examples/dashboard.lua", function()
  it("tells each stream the figures of one worker, and after a reload of the new script alone (B57)", function()
    local script = read("examples/dashboard.lua")
    local s <close> = server.start({ script = script, args = { "--workers", "2" }, env = { PAUSE = "0.05" } })
    assert.matches("<title>Dashboard</title>", curl.run({ s.url .. "/" }).stdout)
    assert.equal("done\n", curl.run({ s.url .. "/work" }).stdout)
    local stream <close> = raw.connect(s.port)
    stream:send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    local head, seen = stream:read_head(30), ""
    local function await(pattern)
      local from = #seen + 1
      while not seen:find(pattern, from) do seen = seen .. assert(stream:read_chunk(head, 30)) end
    end
    await('"generation":1,.-"title":"The gate","watching":1')
    server.write(s.script, (script:gsub("The gate", "The new gate")))
    s:kill("HUP")
    await('"generation":2,.-"title":"The new gate"')
    for _ = 1, 10 do await("\n\n") end
    assert.is_nil(seen:match('"title":"The new gate".*("title":"The gate")'))
    local ids = {}
    for id in seen:gmatch("id: %w+%-(%d+)") do ids[#ids + 1] = math.tointeger(id) end
    for n = 3, #ids do assert.equal(ids[n - 1] + 1, ids[n]) end
  end)
end)

describe("the README's script", function()
  it("counts to five, half a second each", timed(function()
    local script = read("README.md"):match("```lua\n(.-)```")
    local s <close> = server.start({ script = script })
    local result = curl.run({ "-N", s.url .. "/count" })
    assert.equal("[1,2,3,4,5]", result.stdout)
    assert.is_true(result.time_starttransfer < 1 and result.time_total > 2.4)
  end))
end)
