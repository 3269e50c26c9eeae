-- What the README says, done: its curl lines, and the example that they go to.
local curl = require("curl")
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
    assert.equal(4, #lines)
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

describe("the README's script", function()
  it("counts to five, half a second each", timed(function()
    local script = read("README.md"):match("```lua\n(.-)```")
    local s <close> = server.start({ script = script })
    local result = curl.run({ "-N", s.url .. "/count" })
    assert.equal("[1,2,3,4,5]", result.stdout)
    assert.is_true(result.time_starttransfer < 1 and result.time_total > 2.4)
  end))
end)
