-- What clients, interceptors and the log see when a body fails, and how exchanges end.
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local endings, closers = {}, {}

local function on_close(name)
  return { name = name, enter = function(ctx)
    ctx:on_close(function(reason, err)
      endings[#endings + 1] = name .. "=" .. reason .. (err and ":" .. err.message or "")
    end)
  end }
end

local function guard(name)
  return setmetatable({}, { __close = function() closers[#closers + 1] = name end })
end

local function note(name, answer)
  return { name = name, error = function(ctx, err)
    ctx.seen = (ctx.seen or "") .. name .. ":" .. err.stage .. " "
    if answer then
      ctx.response = { status = 503, body = ctx.seen .. err.message }
      return
    end
    error(err, 0)
  end, leave = function(ctx) ctx.left = (ctx.left or "") .. name end }
end

local function late(length)
  return function()
    return { headers = { ["Content-Length"] = length }, body = function(out)
      out:write(("x"):rep(1000))
      out:flush()
      error("too late", 0)
    end }
  end
end

local function fails_early() error("early failure", 0) end

return {
  limits = { response_timeout = 0.4 },
  routes = {
    { "/early", name = "early", get = { note("a"), note("b"), function() return { body = fails_early } end } },
    { "/answered", get = { note("a", true), note("b"), function() return { body = function(out) out:write("half") error("early failure", 0) end } end } },
    { "/twice", get = { note("a", true), { name = "b", error = function(ctx)
      ctx.response = { body = function() error("second failure", 0) end }
    end }, function() return { body = fails_early } end } },
    { "/unchanged", get = { { name = "b", error = function() end }, function() return { body = fails_early } end } },
    { "/late", name = "late-route", get = late(nil) },
    { "/late-length", get = late(100000) },
    { "/short", get = function() return { headers = { ["Content-Length"] = 10 }, body = function(out) out:write("12345") end } end },
    { "/short-late", get = function() return { headers = { ["Content-Length"] = 10 }, body = function(out) out:write("12345") out:flush() end } end },
    { "/long", get = function() return { headers = { ["Content-Length"] = 10 }, body = function(out)
      out:write("0123456789") out:flush()
      local ok, why = pcall(out.write, out, "excess")
      tg.log.info("excess", ok, why)
    end } end },
    { "/small", get = function() return { body = function(out) out:write("abc") end } end },
    { "/done", get = { on_close("done"), function() return { body = "x" } end } },
    { "/fail", get = { on_close("fail"), function() error("oops", 0) end } },
    { "/broken", get = { on_close("broken"), late(nil) } },
    { "/bad-on-close", get = { { name = "bad", enter = function(ctx)
      ctx:on_close(function() error("in on_close") end)
      ctx:on_close(function() tg.sleep(1) end)
      ctx:on_close(function(reason) endings[#endings + 1] = "after=" .. reason end)
    end }, function() return { body = "x" } end } },
    { "/in-order", get = { on_close("1"), { name = "l", leave = function(ctx) on_close("3").enter(ctx) end },
      function(_, ctx)
        on_close("2").enter(ctx)
        return { body = function(out, c) out:write("x") on_close("4").enter(c) end }
      end } },
    { "/wait", get = { on_close("wait"), function() local g <close> = guard("wait") tg.sleep(100) end } },
    { "/wait-body", get = { on_close("wait-body"), function() return { body = function(out)
      local g <close> = guard("wait-body")
      out:write("first")
      tg.wait(function() end, 100)
    end } end } },
    { "/generator", get = { on_close("generator"), function() return { body = tg.generate(function(yield)
      local g <close> = guard("generator")
      yield(1)
      tg.sleep(100)
    end) } end } },
    { "/inner", get = { on_close("inner"), function()
      local iterate = coroutine.wrap(function()
        local g <close> = guard("inner")
        tg.sleep(100)
      end)
      iterate()
    end } },
    { "/writes-on", get = { on_close("writes-on"), function() return { body = function(out)
      while true do
        local ok, why = pcall(out.write, out, ("y"):rep(65536))
        if not ok then
          tg.log.info("writes-on: closed", why == tg.closed, tostring(why))
          error(why, 0)
        end
      end
    end } end } },
    { "/timeout", get = { on_close("timeout"), function() local g <close> = guard("timeout") tg.wait(function() end) end } },
    { "/waits-on", get = { { name = "waits on", error = function() tg.wait(function() end) end },
      function() tg.wait(function() end) end } },
    { "/answers-with-waits", get = { { name = "waits on", error = function(ctx)
      ctx.response = { body = function() tg.wait(function() end) end }
    end }, function() tg.wait(function() end) end } },
    { "/never", get = function() tg.wait(function() end) end },
    { "/notes", get = function()
      return { body = table.concat(endings, " ") .. " | " .. table.concat(closers, " ") }
    end },
  },
}
]]

describe("a body that fails", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function get(path) return assert(raw.get(s.port, path)) end
  local function notes() return get("/notes").body end
  local function await_note(text)
    return server.eventually(function() return notes():find(text, 1, true) end)
  end

  describe("before anything went out", function()
    it("is a real 500, through the error stages of those that entered (B32)", function()
      local response = get("/early")
      assert.equal(500, response.status)
      assert.equal("Internal Server Error\n", response.body)
      assert.matches("early", (s:wait_log("early failure", 2)))
    end)

    it("may be answered by an interceptor with another response (B32)", function()
      local response = get("/answered")
      assert.equal(503, response.status)
      assert.equal("b:body a:body early failure", response.body)
    end)

    it("goes on outwards when the answer's body fails as well (B32)", function()
      local response = get("/twice")
      assert.equal(503, response.status)
      assert.equal("a:body second failure", response.body)
    end)

    it("is not tried again when a handler sets no other response (B32)", function()
      assert.equal(500, get("/unchanged").status)
    end)

    it("is an error when it is shorter than its Content-Length (B34)", function()
      assert.equal(500, get("/short").status)
      s:wait_log("shorter than its Content%-Length", 2)
    end)

    it("has its length when it ends (B32)", function()
      assert.equal("3", get("/small").headers["content-length"][1])
    end)
  end)

  describe("after its head went out", function()
    it("cuts the chunked stream, with one line in the log (B33)", function()
      local response = get("/late")
      assert.equal(200, response.status)
      assert.is_false(response.complete)
      assert.equal(1000, #response.body)
      local line = s:wait_log("late%-route.*too late", 2)
      assert.matches("1000 bytes", line)
      assert.equal(18, curl.run({ "-o", "/dev/null", s.url .. "/late" }).exit)
    end)

    it("cuts a body of declared length (B33, B34)", function()
      assert.equal(18, curl.run({ "-o", "/dev/null", s.url .. "/late-length" }).exit)
      assert.equal(18, curl.run({ "-o", "/dev/null", s.url .. "/short-late" }).exit)
    end)

    it("resets a connection whose end delimits the body (B33)", function()
      assert.equal(56, curl.run({ "-0", "-o", "/dev/null", s.url .. "/late" }).exit)
    end)

    it("never sends more than its Content-Length (B34)", function()
      local c <close> = raw.connect(s.port)
      c:send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal("0123456789", c:read_response().body)
      assert.equal("", (c:read_all(5)))
      s:wait_log("excess false", 2)
    end)
  end)

  describe("and on_close", function()
    it("tells how each exchange ended, once (B35)", function()
      get("/done")
      get("/fail")
      get("/broken")
      await_note("done=done")
      await_note("fail=error:oops")
      await_note("broken=error:too late")
      local _, count = notes():gsub("done=done", "")
      assert.equal(1, count)
    end)

    it("is called in the order of its calls, from whatever stage they came (B35)", function()
      get("/in-order")
      await_note("1=done 2=done 3=done 4=done")
    end)

    it("survives callbacks that raise or want to wait (B35)", function()
      get("/bad-on-close")
      s:wait_log("in on_close", 2)
      s:wait_log("cannot wait", 2)
      await_note("after=done")
    end)
  end)

  describe("because its client has left", function()
    local function leave(path, first)
      local lines = #s:log()
      local c = raw.connect(s.port)
      c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
      if first then assert(c:read_until(first)) else server.eventually(function() return s:fds() end) end
      get("/small") -- the first request is being handled by now
      local start = harness.now()
      c:close()
      return start, lines
    end

    local function assert_prompt(name, start, lines)
      await_note(name .. "=client_closed")
      assert.is_true(harness.now() - start < 100 * (server.sanitized and 5 or 1))
      assert.matches("| .*" .. name:gsub("%-", "%%-"), notes())
      for i = lines + 1, #s:log() do assert.is_nil(s:log()[i]:find(" error ", 1, true), s:log()[i]) end
    end

    it("ends a handler that waits, within 100 ms and without a byte written (B13)", timed(function()
      assert_prompt("wait", leave("/wait"))
    end))

    it("ends a body that waits (B13)", timed(function()
      assert_prompt("wait-body", leave("/wait-body", "first"))
      assert_prompt("generator", leave("/generator", "1"))
    end))

    it("ends coroutines of the script's own that wait inside (B13, B14)", timed(function()
      assert_prompt("inner", leave("/inner"))
    end))

    it("raises tg.closed at the next write, which is no error in the log", function()
      local c = raw.connect(s.port)
      local lines = #s:log()
      c:send("GET /writes-on HTTP/1.1\r\nHost: a\r\n\r\n")
      assert(c:read_until("yyy"))
      c:reset()
      await_note("writes-on=client_closed")
      for i = lines + 1, #s:log() do assert.is_nil(s:log()[i]:find(" error ", 1, true), s:log()[i]) end
    end)
  end)

  it("or never comes, is a 503 after limits.response_timeout, its coroutine closed (B12)", function()
    local response = get("/timeout")
    assert.equal(503, response.status)
    await_note("timeout=error")
    assert.matches("| .*timeout", notes())
  end)

  for what, path in pairs({ ["waits for ever, too"] = "/waits-on", ["answers with what does"] = "/answers-with-waits" }) do
    it("is one after as long again when what handles that " .. what .. " (B12)", function()
      local start = harness.now()
      assert.equal(503, get(path).status)
      assert.is_true(harness.now() - start >= 780)
    end)
  end
end)
