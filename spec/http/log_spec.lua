-- The access log as JSON: a line for each exchange, whatever the client has sent.
local harness = require("harness")
local json = require("cjson")
local raw = require("raw")
local server = require("server")

local APP = [[
  local tg = require("tidegate")
  return { %s workers = 1, routes = {
    { "/*path", name = "any", any = function() return { body = "12345" } end },
    { "/fails/now", get = function() error("a mishap") end },
    { "/slow/body", name = 'quote " and \\', get = function() return { body = function(out)
      out:write("x") out:flush() tg.sleep(0.2)
    end } end },
    { "/slow/head", get = function() tg.sleep(0.2) return { body = "x" } end },
    { "/stays/here", get = function() tg.sleep(60) end },
    { "/topic/events", name = "events", get = function() return { body = tg.topic("t") } end },
  } }
]]
local TRACE = "0af7651916cd43dd8448eb211c80319c"
local PARENT = "00-" .. TRACE .. "-b7ad6b7169203331-01"

local function start(log, args)
  return server.start({ script = APP:format(log or ""), args = args })
end

-- Every line that begins like an object, decoded; the others are no objects.
local function objects(s)
  local list = {}
  for _, line in ipairs(s:log()) do
    if line:sub(1, 1) == "{" then list[#list + 1] = json.decode(line) end
  end
  return list
end

local function line_of(s, field, value)
  return server.eventually(function()
    for _, object in ipairs(objects(s)) do
      if object[field] == value then return object end
    end
  end)
end

local function ask(s, target, headers)
  return raw.request(s.port, ("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"):format(target, headers or ""))
end

describe("An access log in JSON", function()
  local s
  setup(function() s = start('log = { format = "json", headers = { "User-Agent", "X-Any" } },') end)
  teardown(function() s:stop() end)

  it("has a line for an exchange with all that is known of it (B81)", function()
    ask(s, "/a?b=c", "User-Agent: spec/1\r\ntraceparent: " .. PARENT .. "\r\n")
    local line = line_of(s, "target", "/a?b=c")
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", line.time)
    assert.matches("^%x+%-%x+$", line.id)
    assert.is_true(line.duration >= line.ttfb and line.ttfb >= 0 and line.duration < 10)
    line.time, line.id, line.duration, line.ttfb = nil, nil, nil, nil
    assert.same({
      level = "info", address = "127.0.0.1", method = "GET", target = "/a?b=c", status = 200,
      bytes = 5, reason = "done", route = "any", generation = 1, trace = TRACE,
      headers = { ["user-agent"] = "spec/1" },
    }, line)
  end)

  it("tells the time to the first byte from that to the last", function()
    ask(s, "/slow/body")
    local line = line_of(s, "target", "/slow/body")
    assert.is_true(line.ttfb < 0.15 and line.duration > 0.19, json.encode(line))
    assert.equal('quote " and \\', line.route)
    ask(s, "/slow/head")
    assert.is_true(line_of(s, "target", "/slow/head").ttfb > 0.19)
  end)

  it("says how an exchange has ended (B81)", function()
    ask(s, "/fails/now")
    local failed = line_of(s, "target", "/fails/now")
    assert.same({ 500, "error" }, { failed.status, failed.reason })
    do
      local client <close> = assert(raw.connect(s.port))
      client:send("GET /stays/here HTTP/1.1\r\nHost: x\r\n\r\n")
    end
    local left = line_of(s, "target", "/stays/here")
    assert.same({ 0, "client_closed" }, { left.status, left.reason })
    assert.is_nil(left.ttfb)
  end)

  it("knows of a stream whose fields were let go of", function()
    do
      local client <close> = assert(raw.connect(s.port))
      client:send("GET /topic/events HTTP/1.1\r\nHost: x\r\nX-Any: thing\r\ntraceparent: "
        .. PARENT .. "\r\n\r\n")
      assert(client:read_head())
    end
    local line = line_of(s, "target", "/topic/events")
    assert.same({ "events", 1, TRACE, { ["x-any"] = "thing" } },
      { line.route, line.generation, line.trace, line.headers })
  end)

  it("has heads that were refused", function()
    raw.request(s.port, "NONSENSE\r\n\r\n")
    local line = line_of(s, "reason", "refused")
    assert.same({ 400, "127.0.0.1" }, { line.status, line.address })
  end)

  it("has no trace where there is none, or it is no valid one", function()
    for i, field in ipairs({
      "", "traceparent: x\r\n", "traceparent: " .. PARENT:upper() .. "\r\n",
      ("traceparent: %s\r\ntraceparent: %s\r\n"):format(PARENT, PARENT),
    }) do
      ask(s, "/trace/" .. i, field)
      assert.is_nil(line_of(s, "target", "/trace/" .. i).trace)
    end
  end)

  it("is one line of JSON, whatever is sent", function()
    local hostile = {}
    for byte = 0, 255 do hostile[#hostile + 1] = string.char(byte) end
    table.insert(hostile, '","status":200,"x":"')
    table.insert(hostile, "\\u0000\\")
    table.insert(hostile, "\xed\xa0\x80")
    table.insert(hostile, "\xf4\x90\x80\x80")
    table.insert(hostile, "\xc3")
    for _, bytes in ipairs(hostile) do
      ask(s, "/h", ("X-Any: <%s>\r\n"):format(bytes))
      ask(s, "/h" .. bytes)
      raw.request(s.port, ("G%sT / HTTP/1.1\r\nHost: x\r\n\r\n"):format(bytes), 5)
    end
    ask(s, "/the/end")
    line_of(s, "target", "/the/end")
    local count = 0
    for i, line in ipairs(s:log()) do
      assert.is_nil(line:find("[%c\x7f]"), line)
      assert.is_truthy(utf8.len(line), line)
      if i > 1 and not line:find("^%d%d%d%d%-.* error ") then
        local object = json.decode(line)
        assert.is_string(object.time)
        count = count + 1
      end
    end
    assert.is_true(count > 700, count)
  end)

  it("cuts a target that is very long", function()
    ask(s, "/" .. ("é"):rep(3000):gsub(".", function(c) return ("%%%02X"):format(c:byte()) end):sub(1, 7000))
    local line = server.eventually(function()
      for _, object in ipairs(objects(s)) do
        if object.target and #object.target > 2000 then return object end
      end
    end)
    assert.equal(4096 + #"…", #line.target)
    assert.equal("…", line.target:sub(-3))
  end)
end)

describe("The access log", function()
  it("as text has the id that the request has, and that errors are logged with (B81)", function()
    local s <close> = server.start({ script = [[return { routes = {
      { "/id", get = function(request) return { body = request.id } end },
      { "/fails", get = function() error("oh") end },
    } }]] })
    local id = raw.get(s.port, "/id").body
    assert.matches("^%x+%-%x+$", id)
    assert.matches("GET /id 200 " .. #id .. " [%d.]+ms done " .. id:gsub("%-", "%%-") .. "$", s:wait_log("GET /id 200"))
    raw.get(s.port, "/fails")
    local failed = s:wait_log("GET /fails: unhandled after 0 bytes, id "):match("id (%x+%-%x+): enter")
    assert.equal(failed, s:wait_log("GET /fails 500"):match("(%S+)$"))
    assert.not_equal(id, failed)
  end)

  it("has IPv4 addresses as such, where a socket is for both families", function()
    local starts, s = pcall(server.start, {
      script = APP:format('log = "json",'), listen = { "[::]:0" },
    })
    if not starts then pending("there is no IPv6 here") end
    ask(s, "/four")
    assert.equal("127.0.0.1", line_of(s, "target", "/four").address)
    local six <close> = assert(raw.connect(s.port, { v6 = true }))
    six:send("GET /six HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.equal("::1", line_of(s, "target", "/six").address)
    s:stop()
  end)

  it("is what the script says, and what the command line says before that", function()
    for _, case in ipairs({
      { nil, {}, "text" }, { 'log = "text",', {}, "text" }, { 'log = "off",', {}, "off" },
      { 'log = "json",', {}, "json" }, { 'log = "json",', { "--log", "text" }, "text" },
      { 'log = "json",', { "--log=off" }, "off" }, { 'log = "off",', { "--log", "json" }, "json" },
      { 'log = "json",', { "--quiet" }, "off" }, { nil, { "--log", "json", "--quiet" }, "off" },
    }) do
      local s <close> = start(case[1], case[2])
      ask(s, "/hello")
      raw.request(s.port, "NONSENSE\r\n\r\n")
      s:stop()
      local log = s:log_text()
      local is = log:find('"target":"/hello"', 1, true) and "json"
        or log:find("info GET /hello 200 5 ", 1, true) and "text" or "off"
      assert.equal(case[3], is, log)
      assert.equal(is ~= "off", log:find("refused", 1, true) ~= nil)
    end
  end)

  it("follows the script when that is loaded anew", function()
    local s <close> = start('log = "text",')
    ask(s, "/before")
    s:wait_log("info GET /before")
    server.write(s.script, (APP:format('log = "json",')))
    s:kill("HUP")
    s:wait_log("reload: .*generation 2")
    ask(s, "/after")
    assert.equal(2, line_of(s, "target", "/after").generation)
  end)

  it("makes objects of all other lines, too, with --log json", function()
    local s = start(nil, { "--log", "json" , "--watch" })
    ask(s, "/fails/now")
    s:kill("HUP")
    s:wait_log("reload: ")
    server.write(s.script, "return {")
    s:wait_log("serves on")
    s:stop()
    local levels = {}
    for _, line in ipairs(s:log()) do
      local object = json.decode(line)
      assert.is_string(object.time)
      levels[object.level] = (levels[object.level] or 0) + 1
      assert.is_truthy(object.message or object.target)
    end
    assert.is_true(levels.info >= 3 and levels.error >= 2)
  end)

  it("says in JSON, too, how many lines were lost when nobody read", function()
    local dir = server.folder()
    server.write(dir .. "/app.lua", APP:format(""))
    local process <close> = assert(harness.spawn({ server.binary, "run", dir .. "/app.lua",
      "--workers", "1", "--log", "json", "--listen", "127.0.0.1:0" }, { stderr = "pipe" }))
    local port = tonumber(assert(process:read_line("stderr", 20)):match("127%.0%.0%.1:(%d+)"))
    local client <close> = assert(raw.connect(port))
    local target = "/" .. ("x"):rep(2000)
    for _ = 1, 500 do -- a megabyte, into a pipe of 64 KiB that is not read
      assert(client:send(("GET %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(target)))
      assert.equal(200, assert(client:read_response()).status)
    end
    process:kill("TERM")
    assert.equal(0, process:wait(20))
    local lost, shown = 0, 0
    for line in process:output("stderr"):gmatch("[^\n]+") do
      local object = json.decode(line)
      assert.is_string(object.time)
      lost = lost + (tonumber((object.message or ""):match("^log: (%d+) lines dropped")) or 0)
      shown = shown + (object.target and 1 or 0)
    end
    assert.is_true(lost > 0)
    assert.equal(500, lost + shown)
    server.remove_folder(dir)
  end)

  it("says in JSON, too, why nothing is served", function()
    local result = server.command({ "run", "/nowhere.lua", "--log", "json" })
    assert.equal(1, result.exit)
    assert.same({ "error", "cannot open /nowhere.lua: No such file or directory" }, {
      json.decode(result.stderr).level, json.decode(result.stderr).message,
    })
  end)
end)
