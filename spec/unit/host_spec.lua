-- The gateway in a program of somebody else's: C handlers, interceptors, bodies, waits, calls.
local harness = require("harness")
local probe = require("probe_host")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local leave = { name = "script", leave = function(ctx)
  if ctx.request.headers["x-wrap"] and ctx.response then
    ctx.response.headers["X-Script"] = "left"
    ctx.response.body = tg.map_body(ctx.response.body, function(chunk) return chunk:upper() end)
  elseif ctx.request.headers["x-replace"] then
    ctx.response = { body = "replaced" }
  end
end }
return { interceptors = { leave }, limits = { response_timeout = 0.2 }, routes = {
  { "/lua", get = function() return { body = "lua" } end },
  { "/work", get = function(request) return { body = table.concat({ work(request.query.raises) }, " ") } end },
  { "/timed", get = function() return { body = tostring(pcall(tg.timeout, 0.02, function() work() end)) } end },
  { "/shared", get = function() return { body = tostring(tg.shared("s"):get("k")) .. tg.shared("s"):get("n") } end },
  { "/topic", get = function() return { body = tg.topic("t") } end },
} }
]]

describe("a host in C", function()
  local host
  before_each(function() host = assert(probe.new(SCRIPT)) end)
  after_each(function() host:close() end)

  local function call(target, headers, body, method) return assert(host:call(method or "GET", target, headers, body)) end

  it("answers requests by handlers that see all of them (B68)", function()
    local r = call("/bytes/a%20b?c=d", "X-One: 1\r\nx-one: 2\r\n")
    assert.equal("GET /bytes/a%20b?c=d /bytes/a%20b c=d a b 1, 2 127.0.0.1", r.body)
    assert.same({ 201, true }, { r.status, r.whole })
    assert.matches("X%-From: C\r\n", r.headers)
    assert.matches("Content%-Type: text/plain\r\n", r.headers)
    assert.equal("enter leave closed:done", host:notes())
  end)

  it("stands beside the script's own routes, and around them", function()
    assert.equal("lua", call("/lua").body)
    assert.equal("enter leave", host:notes())
    assert.equal(404, call("/none").status)
    assert.equal("enter leave", host:notes())
    assert.same({ 403, "stopped" }, { call("/lua", "X-Stop: 1\r\n").status, call("/lua", "X-Stop: 1\r\n").body })
  end)

  it("fails as scripts do, and handles failures", function()
    assert.equal(418, call("/fail").status)
    assert.equal("enter error", host:notes())
    local r = call("/fail", "X-Rescue: 1\r\n")
    assert.same({ 200, "it is a teapot" }, { r.status, r.body })
    assert.equal(500, call("/nothing").status)
  end)

  it("streams bodies, which are closed once, however they end (B68)", function()
    for _, bytes in ipairs({ 0, 1, 999, 1000, 65536, 300000 }) do
      host:notes()
      local r = call("/body/" .. bytes)
      assert.equal(bytes, #r.body)
      assert.is_true(r.whole)
      assert.equal(1, select(2, host:notes():gsub("body%-closed", "")))
      assert.equal(bytes, #call("/chunked/" .. bytes).body)
    end
    host:notes()
    local r = call("/broken")
    assert.is_false(r.whole)
    assert.matches("body%-closed.*closed:error", host:notes())
    assert.equal(20, #call("/twice").body)
    assert.equal(2, select(2, host:notes():gsub("body%-closed", "")))
    assert.equal("", call("/body/1000", nil, nil, "HEAD").body)
    assert.equal(1, select(2, host:notes():gsub("body%-closed", "")))
    assert.is_false(call("/stall").whole)
  end)

  it("is called when a slow client has caught up, in flat memory (B20, B68)", function()
    local c <close> = assert(raw.connect(host:port(), { rcvbuf = 4096 }))
    c:send("GET /body/20000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ = 1, 50 do host:loop() end
    local function resident()
      local statm <close> = assert(io.open("/proc/self/statm"))
      return tonumber(statm:read("a"):match("^%d+ (%d+)")) * 4
    end
    collectgarbage()
    local before, received = resident(), 0
    local deadline = harness.now() + 20000
    while received < 20000000 and harness.now() < deadline do
      host:loop()
      local data = c.socket:recv(1048576, 0)
      received = received + (data and #data or 0)
    end
    collectgarbage()
    assert.is_true(received >= 20000000)
    assert.is_true(server.sanitized or resident() - before < 6144, resident() - before) -- the client's own pieces, too
    for _ = 1, 5 do host:loop() end
    assert.matches("drained", host:notes())
  end)

  it("has its responses seen, changed and replaced by the script's interceptors", function()
    local r = call("/body/5", "X-Wrap: 1\r\n")
    assert.equal("PIECE", r.body)
    assert.matches("X%-Script: left", r.headers)
    assert.matches("Content%-Type: text/x%-pieces", r.headers)
    host:notes()
    assert.equal("replaced", call("/body/5", "X-Replace: 1\r\n").body)
    assert.equal(1, select(2, host:notes():gsub("body%-closed", "")))
    assert.equal("replaced", call("/bytes/x", "X-Replace: 1\r\n").body)
  end)

  it("suspends, and is resumed from another thread (B68)", function()
    local c <close> = assert(raw.connect(host:port()))
    c:send("GET /suspend HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ = 1, 20 do host:loop(0.002) end
    assert.equal(1, host:resume())
    for _ = 1, 20 do host:loop(0.002) end
    assert.equal("later", c:read_response().body)
    assert.equal("enter resumed leave closed:done", host:notes())
  end)

  it("may resume what is over: a client that has left, a timeout, a gateway that is gone", function()
    local c = assert(raw.connect(host:port()))
    c:send("GET /suspend HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ = 1, 20 do host:loop(0.002) end
    c:close()
    for _ = 1, 20 do host:loop(0.002) end
    assert.equal("enter closed:client_closed", host:notes())
    assert.equal(1, host:resume())
    host:loop(0.01)
    assert.equal("", host:notes())

    local d <close> = assert(raw.connect(host:port()))
    d:send("GET /suspend HTTP/1.1\r\nHost: a\r\nX-Rescue: 1\r\n\r\n")
    for _ = 1, 40 do host:loop(0.01) end
    assert.matches("no response within", d:read_response().body)
    assert.equal(1, host:resume())
    host:loop(0.01)

    local e <close> = assert(raw.connect(host:port()))
    e:send("GET /suspend HTTP/1.1\r\nHost: a\r\n\r\nGET /lines HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ = 1, 20 do host:loop(0.002) end
    host:free()
    assert.equal(1, host:resume())
  end)

  it("produces when it has something, on any thread's word", function()
    local c <close> = assert(raw.connect(host:port()))
    c:send("GET /lines HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ = 1, 3 do
      for _ = 1, 10 do host:loop(0.002) end
      host:resume()
    end
    for _ = 1, 10 do host:loop(0.002) end
    assert.equal("line\nline\n", c:read_response().body)
    c:send("GET /lines HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ = 1, 10 do host:loop(0.002) end
    c:close()
    for _ = 1, 10 do host:loop(0.002) end
    assert.equal(1, host:resume())
    host:loop(0.01)
    assert.matches("body%-closed closed:client_closed$", host:notes())
  end)

  it("reads uploads as they come (B49)", function()
    assert.equal("5", call("/echo", nil, "hello", "POST").body)
    assert.equal("0", call("/echo", nil, "", "POST").body)
    assert.equal("1000000", call("/echo", nil, ("x"):rep(1000000), "POST").body)
    local c <close> = assert(raw.connect(host:port()))
    c:send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    for _ = 1, 10 do host:loop(0.002) end
    c:send("2\r\nde\r\n0\r\n\r\n")
    for _ = 1, 10 do host:loop(0.002) end
    assert.equal("5", c:read_response().body)
  end)

  describe("has functions that scripts wait in", function()
    local function get(target)
      local c = assert(raw.connect(host:port()))
      c:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n")
      for _ = 1, 20 do host:loop(0.002) end
      return c
    end

    it("until any thread resumes them (B68)", function()
      local c <close> = get("/work")
      assert.equal(1, host:resume())
      for _ = 1, 10 do host:loop(0.002) end
      assert.equal("from C 2", c:read_response().body)
    end)

    it("and that hear of one end each, also of two at a time", function()
      for _ = 1, 30 do
        local c = get("/work")
        host:resume()
        c:reset()
        for _ = 1, 5 do host:loop(0.001) end
        local notes = host:notes()
        assert.equal(1, select(2, notes:gsub("finished", "")) + select(2, notes:gsub("cancelled", "")), notes)
      end
    end)

    it("and that may raise", function()
      local c <close> = get("/work?raises=1")
      host:resume()
      for _ = 1, 10 do host:loop(0.002) end
      assert.equal(418, c:read_response().status)
      assert.matches("finished", host:notes())
    end)

    it("and that hear when they are given up", function()
      local c <close> = get("/timed")
      for _ = 1, 20 do host:loop(0.005) end
      assert.equal("false", c:read_response().body)
      assert.matches("cancelled", host:notes())
      host:resume()
      host:loop(0.01)
      local d = get("/work")
      d:close()
      for _ = 1, 10 do host:loop(0.002) end
      assert.matches("cancelled", host:notes())
      assert.equal(1, host:resume())
      local e <close> = get("/work")
      host:free()
      assert.matches("cancelled", host:notes())
      assert.equal(1, host:resume())
      e:close()
    end)
  end)

  it("shares stores and topics with scripts", function()
    assert.same({ 0, 1, "v", 0, 3 }, { host:shared("s", "k", "v") })
    assert.equal("v3", call("/shared").body)
    local c <close> = assert(raw.connect(host:port()))
    c:send("GET /topic HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
    for _ = 1, 10 do host:loop(0.002) end
    assert.equal(0, host:publish("t", "hello"))
    for _ = 1, 10 do host:loop(0.002) end
    assert.is_truthy(c:read_until("data: hello"))
    assert.is_true(host:publish("", "x") < 0)
  end)

  it("keeps its routes through reloads", function()
    assert.equal(0, host:reload())
    local deadline = harness.now() + 5000
    while host:generation() < 2 and harness.now() < deadline do host:loop(0.01) end
    assert.equal(2, host:generation())
    assert.equal(5, #call("/body/5").body)
    assert.equal("lua", call("/lua").body)
    assert.equal(403, call("/lua", "X-Stop: 1\r\n").status)
  end)

  it("is refused what it asks for too late", function()
    assert.is_true(host:route("GET", "/new") < 0)
  end)

  it("has no two routes alike, and none that is malformed", function()
    local refused, why = probe.new([[return { routes = { { "/nothing", get = function() end } } }]])
    assert.is_nil(refused)
    assert.matches("GET /nothing: there is another such route", why)
  end)

  it("calls with requests that are refused as any other", function()
    assert.equal(400, call("/a b").status)
    assert.equal(400, call("/", "Bad header\r\n").status)
    assert.equal(405, call("/lua", nil, nil, "POST").status)
  end)
end)

describe("two gateways on one loop", function()
  it("do not touch (B67)", function()
    local one <close> = assert(probe.new([[x = 1 return { routes = { { "/", get = function() return { body = "one" } end } } }]], false))
    local two <close> = assert(probe.new([[return { routes = { { "/", get = function() return { body = tostring(x) } end } } }]], false))
    assert.equal("one", one:call("GET", "/").body)
    assert.equal("nil", two:call("GET", "/").body)
  end)
end)

describe("memory that gives out", function()
  -- Each allocation of the first calls fails in turn: an error, and nothing left.
  it("while a gateway starts is an error, and leaves nothing (B69)", function()
    local script = [[return { routes = { { "/", get = function() return { body = "x" } end } } }]]
    collectgarbage()
    collectgarbage()
    local before = probe.blocks()
    local failures = 0
    for n = 1, 100000 do
      local host, why = probe.new(script, true, n)
      if host then
        host:close()
        break
      end
      failures = failures + 1
      assert.is_string(why)
      collectgarbage()
    end
    collectgarbage()
    assert.is_true(failures > 50, failures)
    assert.equal(before, probe.blocks())
  end)

  it("while a request is answered is an error or no answer, and never a wrong one (B69)", function()
    local host <close> = assert(probe.new(SCRIPT))
    for _, target in ipairs({ "/body/5", "/chunked/70000", "/lua" }) do
      local whole = host:call("GET", target).body
      host:call("GET", target)
      for n = 1, 200 do
        local r = host:call("GET", target, nil, nil, n)
        assert.is_true(r == nil or r.status == 0 or r.status >= 400 or not r.whole or r.body == whole, ("%s %d: %d %s"):format(target, n, r and r.status or 0, r and r.body or ""))
      end
      assert.equal(whole, host:call("GET", target).body)
    end
  end)
end)
