-- Chains of which some interceptors are C and some are Lua.
local probe = require("probe_engine")
local raw = require("raw")

local SCRIPT = [[
local function note(ctx, what) ctx.trace = (ctx.trace or "") .. what .. " " end
local a = { name = "a", enter = function(ctx) note(ctx, "+a") end, leave = function(ctx)
  note(ctx, "-a")
  ctx.response.headers = ctx.response.headers or {}
  ctx.response.headers["X-Trace"] = ctx.trace
end }
local b = { name = "b", enter = function(ctx) note(ctx, "+b") end, leave = function(ctx) note(ctx, "-b") end,
  error = function(ctx, err)
    note(ctx, "!b")
    ctx.response = { status = 200, headers = { ["X-Error"] = err.message .. "/" .. err.stage .. "/" .. err.interceptor } }
  end }
local plain = { name = "plain", leave = function(ctx) note(ctx, "-plain") end }
local raiser = { name = "raiser", enter = function() error("lua failed", 0) end }
local function handler(_, ctx) note(ctx, "h") return { status = 200, body = "fine" } end
local function route(path) return { path, get = { a, b, plain, raiser, handler } } end
return { routes = { route("/1"), route("/2"), route("/3"), route("/4"), route("/5") } }
]]

describe("a chain of C and Lua", function()
  local port

  setup(function() port = probe.start(SCRIPT) end)
  teardown(function() probe.stop() end)
  before_each(function() probe.trace() end)

  local function get(path)
    local c <close> = assert(raw.connect(port))
    c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    probe.run(0.05)
    return assert(c:read_response(5))
  end

  it("enters in order and leaves in reverse, whatever a link is written in (B10)", function()
    probe.mix(1, { "c1", 1, "c2", 2, "c3-wait", 5 })
    local response = get("/1")
    assert.equal("fine", response.body)
    assert.equal("+c1 +c2 +c3-wait -c3-wait -c2 -c1", probe.trace())
    assert.equal("+a +b h -b -a", response.headers["x-trace"][1])
  end)

  it("shows a response of C to Lua's leave, which may change it (B10)", function()
    probe.mix(2, { 1, "c-respond", 5 })
    local response = get("/2")
    assert.equal(299, response.status)
    assert.equal("from c", response.body)
    assert.equal("c", response.headers["x-from"][1])
    assert.equal("+a -a", response.headers["x-trace"][1])
  end)

  it("gives a failure of C to Lua's error, with its message and place (B10)", function()
    probe.mix(3, { 2, "c-fail-enter", 5 })
    assert.equal("c failed/enter/c-fail-enter", get("/3").headers["x-error"][1])
    assert.equal("+c-fail-enter !c-fail-enter", probe.trace())
    probe.mix(4, { 2, "c-fail-leave", 3, 5 })
    assert.equal("c failed late/leave/c-fail-leave", get("/4").headers["x-error"][1])
    assert.equal("+c-fail-leave -c-fail-leave !c-fail-leave", probe.trace())
  end)

  it("gives a failure of Lua to C's error, which may answer it (B10)", function()
    probe.mix(5, { "c1", "c-handle-respond", 4 })
    assert.equal(299, get("/5").status)
    assert.equal("+c1 +c-handle-respond !c-handle-respond -c1", probe.trace())
  end)
end)

describe("libevent's evhttp", function()
  it("makes its connection the argument of the bufferevent's callbacks", function()
    assert.is_true(probe.evhttp_fact())
  end)
end)
