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

  it("never meets a parameter that C would cut at a NUL: 400 (B51, B68)", function()
    for _, name in ipairs({ "a%00b", "%00", "%2500%00" }) do
      local r = call("/bytes/" .. name, "X-Pass: 1\r\n")
      assert.same({ 400, "Bad Request\n" }, { r.status, r.body })
      assert.equal("enter error", host:notes())
    end
    assert.equal(201, call("/bytes/%2500").status)
  end)

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

  it("lets failures go on as they are, without what was set for the response that there is not", function()
    local r = call("/fail", "X-Pass: 1\r\n")
    assert.equal(418, r.status)
    assert.equal("enter error", host:notes())
    for _, how in ipairs({ "X-Pass", "X-Rescue", "X-None" }) do
      assert.not_matches("X-Lost", call("/fail", how .. ": 1\r\n").headers, 1, true)
    end
  end)

  it("sets headers, of which those about framing are not its own", function()
    local r = call("/headers")
    assert.same({ 200, "set" }, { r.status, r.body })
    assert.matches("X-Two: one\r\nX-Two: two\r\n", r.headers, 1, true)
    assert.matches("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", r.headers, 1, true)
    assert.equal(1, select(2, r.headers:gsub("%f[%a]Date: ", "")))
    assert.equal("enter leave", host:notes())
    local c <close> = assert(raw.connect(host:port()))
    c:send("GET /headers HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ = 1, 20 do host:loop(0.002) end
    local response = c:read_response()
    assert.same({ "close", "set" }, { response.headers.connection[1], response.body })
    assert.equal("", c:read_all())
  end)

  it("sets headers in leave of whatever response goes out", function()
    for target, status in pairs({ ["/lua"] = 200, ["/none"] = 404, ["/bytes/a"] = 201, ["/body/5"] = 200, ["/stopped"] = 403 }) do
      local r = call(target, "X-Decorate: 1\r\n" .. (status == 403 and "X-Stop: 1\r\n" or ""))
      assert.equal(status, r.status)
      assert.equal(1, select(2, r.headers:gsub("X%-Leave: C\r\n", "")), target)
      assert.not_matches("of-no-response", r.headers, 1, true)
      assert.is_nil(call(target).headers:find("X-Leave", 1, true))
    end
    assert.equal(1, select(2, call("/body/5", "X-Decorate: 1\r\nX-Wrap: 1\r\n").headers:gsub("X%-Leave: C\r\n", "")))
  end)

  it("is told what has nothing in it", function()
    local statuses, why, none, counted = host:nulls()
    for n, status in ipairs(statuses) do assert.equal(-1, status, "the " .. n .. "th") end
    assert.same({ "script: there is none: neither its path nor its text", "", 0 }, { why, none, counted })
    assert.equal("lua", call("/lua").body)
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
    local status, why = host:route("GET", "/new")
    assert.equal(-1, status)
    assert.matches("it was started, and takes no more routes or interceptors", why, 1, true)
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

describe("a gateway that has stopped", function()
  local COUNTER = [[
    local tg = require("tidegate")
    return { limits = { drain = 5 }, workers = 2, routes = {
      { "/", get = function()
        here = (here or 0) + 1
        return { body = here .. " " .. tg.shared("s"):incr("n") }
      end },
      { "/stream", get = function() return { body = function(out)
        out:write("begun") out:flush() tg.wait(function() end)
      end } end },
    } }
  ]]

  local function settle(host, what)
    local deadline = harness.now() + 20000
    while not what() do
      assert(harness.now() < deadline, "still not so")
      host:loop(0.005)
    end
  end

  it("starts again on its host's loop, its script anew, its stores and routes as they were (B67)", function()
    local host <close> = assert(probe.new(COUNTER))
    for round = 1, 3 do
      assert.equal("1 " .. 2 * round - 1, host:call("GET", "/").body)
      assert.equal("2 " .. 2 * round, host:call("GET", "/").body)
      assert.equal(5, #host:call("GET", "/body/5").body)
      assert.equal(round, host:generation())
      assert.is_true(host:start() < 0, "it runs")
      host:stop()
      settle(host, function() return raw.connect(host:port()) == nil end)
      settle(host, function() return host:start() == 0 end)
    end
  end)

  it("starts again while streams of before are open, and those are over", function()
    local host <close> = assert(probe.new(COUNTER))
    local c <close> = assert(raw.connect(host:port()))
    c:send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    settle(host, function() return c:read_until("begun", 0.001) end)
    host:stop()
    host:loop(0.01)
    assert.is_true(host:start() < 0, "it drains")
    host:stop()
    settle(host, function() return host:start() == 0 end)
    assert.equal("1 1", host:call("GET", "/").body)
    assert.is_false((c:read_response(5) or {}).complete or false)
  end)

  it("starts again with loops of its own, and is freed while streams are open (B67)", function()
    local host <close> = assert(probe.new(COUNTER, true, 0, { own = true }))
    for round = 1, 3 do
      host:run()
      assert.matches(" " .. round .. "$", raw.get(host:port(), "/").body)
      if round < 3 then
        host:stop()
        assert.equal(0, (host:join()))
        assert.is_true(host:start() == 0)
      end
    end
    local c <close> = assert(raw.connect(host:port()))
    c:send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    assert(c:read_until("begun"))
    host:free()
  end)

  it("may be stopped before it runs, and started again", function()
    local host <close> = assert(probe.new(COUNTER, true, 0, { own = true }))
    host:stop()
    assert.same({ 0, "" }, { host:start() })
    host:run()
    assert.equal("1 1", raw.get(host:port(), "/").body)
  end)

  it("starts when what was in its way has gone: an address, a script's fault", function()
    local other = assert(harness.listen(0))
    local refused, why, host = probe.new(COUNTER, true, 0, { listen = "127.0.0.1:" .. other:port() })
    assert.is_nil(refused)
    assert.matches("Address already in use", why)
    assert.is_true(host:start() < 0)
    other:close()
    assert.same({ 0, "" }, { host:start() })
    assert.equal("1 1", host:call("GET", "/").body)
    host:close()

    local broken
    local folder = server.folder()
    refused, why, broken = probe.new(([[if not io.open("FOLDER/mended") then error("not yet") end
      return { routes = { { "/", get = function() return { body = "mended" } end } } }]]):gsub("FOLDER", folder), false)
    assert.is_nil(refused)
    assert.matches("not yet", why)
    assert.matches("not yet", select(2, broken:start()))
    server.write(folder .. "/mended", "")
    assert.same({ 0, "" }, { broken:start() })
    server.remove_folder(folder)
    assert.equal("mended", broken:call("GET", "/").body)
    broken:close()
  end)

  it("whose start fails for want of memory leaves nothing, and starts then (B69)", function()
    collectgarbage()
    collectgarbage()
    local before, failures, successes = probe.blocks(), 0, 0
    do
      local host <close> = assert(probe.new(COUNTER))
      for n = 1, 100000 do
        host:stop()
        host:stop()
        host:loop(0.001)
        if host:start(n) == 0 then -- what ends may do without some, so one success says nothing yet
          successes = successes + 1
          if successes == 30 then break end
        else
          failures, successes = failures + 1, 0
          assert.same({ 0, "" }, { host:start() })
        end
      end
      assert.matches("^1 ", host:call("GET", "/").body)
    end
    collectgarbage()
    collectgarbage()
    assert.is_true(failures > 50, failures)
    assert.equal(before, probe.blocks())
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

-- Turns the loop until fn() says so, or fails.
local function turn(host, fn, what)
  local deadline = harness.now() + 20000
  while not fn() do
    assert(harness.now() < deadline, what or "in vain")
    host:loop(0.002)
  end
end

-- Notes until one has the pattern.
local function notes_with(host, pattern)
  local notes = ""
  turn(host, function()
    notes = notes .. host:notes() .. " "
    return notes:find(pattern)
  end, pattern)
  return notes
end

local COUNTS = [[
local tg = require("tidegate")
local n = 0
return {
  on_start = function() tg.shared("s"):incr("starts") end,
  on_stop = function() tg.shared("s"):incr("stops") end,
  limits = { drain = 0.2 },
  routes = {
    { "/", get = function() n = n + 1 return { body = tostring(n) } end },
    { "/life", get = function()
      local s = tg.shared("s")
      return { body = ("%s %s"):format(s:get("starts"), s:get("stops")) }
    end },
    { "/topic", get = function() return { body = tg.topic("t") } end },
    { "/slow", get = function() tg.sleep(0.05) return { body = "slow" } end },
    { "/never", get = function() tg.sleep(1000) end },
    { "/half", get = function()
      return { body = function(out) out:write("half") out:flush() tg.sleep(1000) end }
    end },
  },
}]]

describe("a gateway that was stopped", function()
  local function get(host, target, sent)
    local c = assert(raw.connect(host:port()))
    c:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    if sent then return c end
    local response
    turn(host, function()
      response = response or c:read_response(0)
      return response
    end, target)
    c:close()
    return response
  end

  it("is started again, and has loaded its script again (B67)", function()
    local host <close> = assert(probe.new(COUNTS))
    for round = 1, 3 do
      assert.equal("1", host:call("GET", "/").body)
      assert.equal("2", host:call("GET", "/").body)
      assert.equal(("%d %s"):format(round, round == 1 and "nil" or round - 1), host:call("GET", "/life").body)
      assert.equal(5, #host:call("GET", "/body/5").body)
      assert.equal(round, host:generation())
      host:notes()
      host:stop()
      assert.is_true(host:start() < 0)
      notes_with(host, "stopped")
      assert.is_nil(raw.connect(host:port()))
      assert.same({ 0, "" }, { host:start() })
      assert(raw.connect(host:port())):close()
    end
  end)

  it("may be started from the callback that says so, also when it was stopped at once", function()
    local host <close> = assert(probe.new(COUNTS))
    for round = 1, 3 do
      local c = get(host, "/never", true)
      assert.equal("1", host:call("GET", "/").body)
      host:stop(true)
      if round > 1 then host:stop(true) end
      assert.matches("stopped started", notes_with(host, "started"))
      c:close()
    end
  end)

  it("has streams as before, and what was shared and published", function()
    local host <close> = assert(probe.new(COUNTS))
    local c = get(host, "/topic", true)
    host:publish("t", "one")
    for _ = 1, 10 do host:loop(0.002) end
    host:stop(true)
    notes_with(host, "started")
    c:close()
    local d <close> = get(host, "/topic", true)
    for _ = 1, 10 do host:loop(0.002) end
    assert.equal(0, host:publish("t", "two"))
    for _ = 1, 10 do host:loop(0.002) end
    assert.is_truthy(d:read_until("data: two"))
  end)

  it("is not started while its script does not load, and then is", function()
    local path = server.folder() .. "/app.lua"
    finally(function() server.remove_folder(path:match("(.*)/")) end)
    server.write(path, COUNTS)
    local host <close> = assert(probe.new("", false, 0, { path = path }))
    assert.equal("1", host:call("GET", "/").body)
    server.write(path, "return 1 +")
    assert.equal(0, host:reload())
    for _ = 1, 10 do host:loop(0.002) end
    assert.equal("2", host:call("GET", "/").body)
    host:stop()
    notes_with(host, "stopped")
    for _ = 1, 2 do
      local status, why = host:start()
      assert.equal(-4, status)
      assert.matches("app.lua:1", why)
    end
    server.write(path, (COUNTS:gsub("body = tostring%(n%)", 'body = "new"')))
    assert.same({ 0, "" }, { host:start() })
    assert.equal("new", host:call("GET", "/").body)
    assert.equal(0, host:reload())
    turn(host, function() return host:generation() == 3 end)
  end)

  it("stops again while it has not begun, and is freed in any state", function()
    for _, close in ipairs({ false, true }) do
      local host <close> = assert(probe.new(COUNTS, true, 0, { idle = true }))
      host:stop()
      notes_with(host, "stopped")
      assert.equal(0, (host:start()))
      assert.equal("1", host:call("GET", "/").body)
      host:stop()
      if close then host:free() end
    end
  end)

  it("runs its threads again where the loops are its own", function()
    local host <close> = assert(probe.new(COUNTS, true, 0, { own = true }))
    local starts = 0
    for round = 1, 3 do
      host:run()
      local c <close> = assert(raw.connect(host:port()))
      c:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal("1", c:read_response().body)
      assert.is_true(host:start() < 0)
      assert.equal(0, host:reload())
      host:stop()
      if round == 2 then host:stop() end
      assert.equal(0, (host:join()))
      assert.is_true(host:ask("/") < 0)
      assert.equal(0, (host:start()))
      starts = starts + 1
    end
    assert.equal(3, starts)
    assert.is_true(host:generation() >= 4)
  end)
end)

describe("a gateway that other threads use", function()
  it("takes what they do at any moment: publish, reload, resume, call, look (B68)", function()
    local host <close> = assert(probe.new(COUNTS, true, 0, { own = true }))
    host:storm()
    for round = 1, 4 do
      host:run()
      local clients = {}
      for i, target in ipairs({ "/topic", "/suspend", "/lines", "/", "/body/100000", "/half" }) do
        local c = assert(raw.connect(host:port()))
        c:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        clients[i] = c
      end
      assert(clients[1]:read_until("data: data"))
      assert(clients[3]:read_until("line"))
      if round == 2 then clients[2]:reset() end
      host:stop()
      if round % 2 == 0 then host:stop() end
      assert.equal(0, (host:join()))
      assert.same({ 0, "" }, { host:start() })
      for _, c in ipairs(clients) do c:close() end
    end
    host:calm()
    host:free()
    local asked, answers = host:asked()
    assert.is_true(asked > 10)
    assert.equal(asked, answers)
  end)
end)

describe("a gateway that could not be started", function()
  it("is started when it can be, and has listened to nothing meanwhile", function()
    local taken = assert(probe.new(COUNTS))
    local address = "127.0.0.1:" .. taken:port()
    local other = assert(harness.listen(0))
    local first = other:port()
    other:close()
    local host <close> = assert(probe.new(COUNTS, true, 0, { listen = "127.0.0.1:" .. first, listen_too = address, idle = true }))
    for _ = 1, 3 do
      local status, why = host:start()
      assert.equal(-3, status)
      assert.matches("in use", why)
      assert.equal(0, host:port())
      assert.is_nil(raw.connect(first))
    end
    assert.equal(0, (host:route("GET", "/late")))
    taken:close()
    assert.same({ 0, first }, { (host:start()), host:port() })
    assert.equal("1", host:call("GET", "/").body)
    host:stop()
    notes_with(host, "stopped")
    taken = assert(probe.new(COUNTS, true, 0, { listen = address }))
    assert.equal(-3, (host:start()))
    taken:close()
    assert.equal(0, (host:start()))
    assert.equal("1", host:call("GET", "/").body)
  end)
end)

describe("requests without a socket", function()
  it("are waited for by a stop", function()
    local host <close> = assert(probe.new(COUNTS))
    assert.equal(0, host:ask("/slow"))
    host:loop()
    host:stop()
    assert.matches("answer:200:4:whole stopped", notes_with(host, "stopped"))
  end)

  it("end when the time of a stop is over, or it is one at once, and are told so once", function()
    for _, stops in ipairs({ 1, 2 }) do
      local host <close> = assert(probe.new(COUNTS))
      for _, target in ipairs({ "/never", "/half", "/suspend" }) do assert.equal(0, host:ask(target)) end
      for _ = 1, 10 do host:loop(0.002) end
      host:notes()
      for _ = 1, stops do host:stop() end
      host:ask("/")
      local notes = notes_with(host, "stopped")
      for _ = 1, 3 do host:loop() end
      notes = notes .. host:notes()
      assert.equal(3, select(2, notes:gsub("answer:0:0:broken", "")), notes)
      assert.equal(1, select(2, notes:gsub("answer:200:4:broken", "")), notes)
      host:free()
      assert.not_matches("answer", host:notes())
    end
  end)

  it("hear of the gateway's end, begun or not", function()
    local host <close> = assert(probe.new(COUNTS))
    for _, target in ipairs({ "/never", "/half" }) do assert.equal(0, host:ask(target)) end
    for _ = 1, 10 do host:loop(0.002) end
    assert.equal(0, host:ask("/"))
    host:notes()
    host:free()
    local notes = host:notes()
    assert.equal(3, select(2, notes:gsub("answer", "")), notes)
  end)

  it("are answered once by a gateway with threads, whenever it stops", function()
    local host <close> = assert(probe.new(COUNTS, true, 0, { own = true }))
    for _ = 1, 3 do
      local asked = 0
      for _ = 1, 3 do
        assert.equal(0, host:ask("/slow"))
        asked = asked + 1
      end
      host:run()
      for i = 1, 50 do
        if host:ask(i % 2 == 0 and "/" or "/half") == 0 then asked = asked + 1 end
        if i == 25 then host:stop() end
      end
      assert.equal(0, (host:join()))
      assert.equal(asked, select(2, host:notes():gsub("answer", "")))
      assert.equal(0, (host:start()))
    end
  end)
end)

describe("a script that waits for its host", function()
  it("may be freed when it was resumed and has not heard of it", function()
    local host <close> = assert(probe.new([[
      local tg = require("tidegate")
      return { routes = {}, on_start = function() tg.background(function() work() end) work() end }]], false))
    for _ = 1, 5 do host:loop() end
    assert.is_true(host:resume() > 0)
    host:free()
    assert.matches("cancelled", host:notes())
  end)
end)

describe("memory that gives out later", function()
  local SERVICE = [[
local tg = require("tidegate")
local held = {}
return {
  check = function() held[1] = ("x"):rep(100) end,
  on_start = function() tg.sleep(0) end,
  on_stop = function() tg.sleep(0) held = nil end,
  limits = { drain = 0.05 },
  routes = {
    { "/", get = function() return { body = "whole" } end },
    { "/topic", get = function() return { body = tg.topic("t") } end },
    { "/never", get = function() tg.detach(function() tg.sleep(1000) end) tg.sleep(1000) end },
  },
}]]

  -- Clients in the midst of things.
  local function open_some(host)
    local all = {}
    for _, target in ipairs({ "/topic", "/never", "/suspend", "/lines" }) do
      local c = assert(raw.connect(host:port()))
      c:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n")
      all[#all + 1] = c
      host:ask(target)
    end
    for _ = 1, 5 do host:loop(0.001) end
    return all
  end

  local function close_all(clients)
    for _, c in ipairs(clients) do c:close() end
  end

  -- Does what is to be done with the nth allocation failing, for n from 1 on, until none has failed often.
  local function torture(most, attempt)
    local failures = 0
    local fine = 0
    for n = 1, most do
      if attempt(n) then fine = fine + 1 else fine, failures = 0, failures + 1 end
      if fine == 20 then break end
    end
    return failures
  end

  it("while a script is loaded anew leaves the old one serving (B69)", function()
    collectgarbage()
    collectgarbage()
    local before = probe.blocks()
    do
      local host <close> = assert(probe.new(SERVICE))
      local clients = open_some(host)
      local failures = torture(100000, function(n)
        local generation = host:generation()
        assert.equal(0, host:reload())
        host:loop(0, n)
        for _ = 1, 3 do host:loop() end
        assert.equal("whole", host:call("GET", "/").body)
        assert.equal(5, #host:call("GET", "/body/5").body)
        return host:generation() == generation + 1
      end)
      assert.is_true(failures > 50, failures)
      host:resume()
      close_all(clients)
    end
    collectgarbage()
    collectgarbage()
    assert.equal(before, probe.blocks())
  end)

  it("while a gateway stops does not keep it from that, nor from starting again (B69)", function()
    collectgarbage()
    collectgarbage()
    local before = probe.blocks()
    do
      local host <close> = assert(probe.new(SERVICE))
      for n = 1, 60 do
        local clients = open_some(host)
        host:notes()
        host:stop()
        for turn_of = 1, 3 do host:loop(0, n + 7 * (turn_of - 1)) end
        if n % 3 == 0 then host:stop() end
        local notes = notes_with(host, "stopped")
        for _ = 1, 3 do host:loop() end
        notes = notes .. host:notes()
        assert.equal(1, select(2, notes:gsub("stopped", "")))
        assert.equal(4, select(2, notes:gsub("answer", "")), notes)
        close_all(clients)
        host:resume()
        assert.same({ 0, "" }, { host:start() })
        assert.equal("whole", host:call("GET", "/").body)
      end
    end
    collectgarbage()
    collectgarbage()
    assert.equal(before, probe.blocks())
  end)
end)
