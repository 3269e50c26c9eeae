-- The chain of interceptors, as a script and a client see it.
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")

-- Each interceptor notes what it does in ctx.trace, a list.
local function note(ctx, what)
  ctx.trace = ctx.trace or {}
  ctx.trace[#ctx.trace + 1] = what
end

local function tracer(name, options)
  options = options or {}
  return {
    name = name,
    enter = not options.no_enter and function(ctx)
      note(ctx, "+" .. name)
      if options.on_enter then return options.on_enter(ctx) end
    end or nil,
    leave = not options.no_leave and function(ctx)
      note(ctx, "-" .. name)
      if options.on_leave then return options.on_leave(ctx) end
    end or nil,
    error = options.on_error and function(ctx, err)
      note(ctx, "!" .. name)
      return options.on_error(ctx, err)
    end or nil,
  }
end

-- The outermost one shows the trace, whatever became of the response.
local show = {
  name = "show",
  leave = function(ctx)
    ctx.response = { body = table.concat(ctx.trace or {}, " ") .. (ctx.more or "") }
  end,
  error = function(ctx, err)
    local text = { table.concat(ctx.trace or {}, " ") }
    for _, key in ipairs({ "message", "stage", "interceptor" }) do
      text[#text + 1] = key .. "=" .. tostring(err[key])
    end
    text[#text + 1] = "suppressed=" .. #err.suppressed
    text[#text + 1] = "value=" .. tostring(err.value)
    text[#text + 1] = "traceback=" .. tostring(type(err.traceback) == "string" and #err.traceback > 0)
    if err.suppressed[1] then
      text[#text + 1] = "old=" .. tostring(err.suppressed[1].message)
    end
    ctx.response = { status = 200, body = table.concat(text, "\n") }
  end,
}

local function fine(_, ctx)
  note(ctx, "h")
  return { status = 200, body = "fine" }
end

local x, y = tracer("x"), tracer("y")
local function fail(what) return function() error(what, 0) end end

local routes = {
  { "/order", get = { show, tracer("a"), tracer("b"), tracer("c"), fine } },
  { "/only-leave", get = { show, tracer("a"), tracer("b", { no_enter = true }), tracer("c"), fine } },
  { "/enqueue", get = { show, tracer("a"), tracer("b", { on_enter = function(ctx) ctx:enqueue(x, y) end }), tracer("c"), function() end } },
  { "/enqueue-bad", get = { show, tracer("a", { on_enter = function(ctx)
    local ok, why = pcall(ctx.enqueue, ctx, x, nil, y)
    local ok2 = pcall(ctx.enqueue, ctx, x, 42)
    ctx.more = " " .. tostring(ok) .. tostring(ok2) .. ":" .. tostring(why)
  end }), tracer("c"), fine } },
  { "/enqueue-function", get = { show, tracer("a", { on_enter = function(ctx)
    ctx:enqueue(function(request, inner)
      note(inner, "f:" .. request.method)
      return { status = 200 }
    end, x)
  end }), function() end } },
  { "/terminate", get = { show, tracer("a"), tracer("b", { on_enter = function(ctx) ctx:terminate() end }), tracer("c"), fine } },
  { "/terminate-when", get = { show, tracer("a", { on_enter = function(ctx)
    ctx:terminate_when(function(c) return c.stop end)
  end }), tracer("b", { on_enter = function(ctx) ctx.stop = true end }), tracer("c"), fine } },
  { "/terminate-when-own", get = { show, tracer("a", { on_enter = function(ctx)
    ctx.stop = true
    ctx:terminate_when(function(c) return c.stop end)
  end }), tracer("b"), fine } },
  { "/respond", get = { show, tracer("a"), tracer("b", { on_enter = function(ctx) ctx.response = { status = 204 } end }), tracer("c"), fine } },
  { "/bad-response", get = { show, tracer("b", { on_enter = function(ctx) ctx.response = "text" end }), fine } },
  { "/bad-status", get = { show, tracer("b", { on_enter = function(ctx) ctx.response = { status = 1000 } end }), fine } },
  { "/bad-status-kind", get = { show, tracer("b", { on_enter = function(ctx) ctx.response = { status = "200" } end }), fine } },
  { "/bad-handler", get = { show, function() return 42 end } },
  { "/raise-enter", get = { show, tracer("a"), tracer("b", { on_error = function(_, err) error(err, 0) end }),
      tracer("c", { on_enter = fail("boom"), on_error = function(_, err) error(err, 0) end }), fine } },
  { "/raise-leave", get = { show, tracer("a"), tracer("b", { on_leave = fail("late"), on_error = function(_, err) error(err, 0) end }), tracer("c"), fine } },
  { "/handled", get = { show, tracer("a"), tracer("b", { on_error = function(ctx) ctx.response = { status = 200 } end }), tracer("c", { on_enter = fail("boom") }), fine } },
  { "/new-error", get = { show, tracer("a"), tracer("b", { on_error = fail("newer") }), tracer("c", { on_enter = fail("older") }), fine } },
  { "/again", get = { show, tracer("a", { on_leave = fail("second") }), tracer("b", { on_error = function() end }), tracer("c", { on_enter = fail("first") }), fine } },
  { "/unhandled", name = "naked", get = { tracer("b"), tracer("c", { on_enter = fail("secret detail") }), fine } },
  { "/table-error", get = { show, tracer("c", { on_enter = function() error({ message = "as a table", code = 7 }) end }), fine } },
  { "/returns-number", get = { show, tracer("b", { on_enter = function() return 42 end }), fine } },
  { "/returns-response", get = { show, { name = "r", enter = function() return { status = 200, body = "x" } end }, fine } },
  { "/returns-context", get = { show, { name = "copy", enter = function(ctx)
    local copy = {}
    for key, value in pairs(ctx) do copy[key] = value end
    copy.trace = { "copied" }
    return copy
  end }, tracer("b"), fine } },
  { "/no-response", get = { tracer("a"), function() end } },
  { "/state/:key", get = { {
    name = "keep",
    enter = function(ctx) ctx.kept = ctx.request.path_params.key; tg.sleep(0.05) end,
    leave = function(ctx) tg.sleep(0.02); ctx.response.body = ctx.response.body .. ctx.kept end,
  }, function(request, ctx) tg.sleep(0.01); return { body = ctx.kept .. request.path_params.key } end } },
  { "/waits", get = { show, tracer("a", { on_enter = function() tg.sleep(0.01) end, on_leave = function() tg.sleep(0.01) end }),
      tracer("b", { on_enter = function() tg.sleep(0.01) end, on_leave = function() tg.sleep(0.01); error("x", 0) end,
        on_error = function() tg.sleep(0.01) end }), fine } },
}

return {
  interceptors = { { name = "outer", leave = function(ctx)
    if ctx.response then
      ctx.response.headers = ctx.response.headers or {}
      ctx.response.headers["X-Outer"] = "yes"
    end
  end } },
  not_found = function(request) return { status = 404, body = "nothing at " .. request.path } end,
  routes = routes,
}
]]

describe("the chain", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function get(path)
    local c <close> = raw.connect(s.port)
    c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    return c:read_response(5)
  end

  local function body(path) return get(path).body end

  it("enters in order and leaves in reverse (B1)", function()
    assert.equal("+a +b +c h -c -b -a", body("/order"))
  end)

  it("keeps the place of an interceptor that only leaves (B1)", function()
    assert.equal("+a +c h -c -b -a", body("/only-leave"))
  end)

  it("appends what is enqueued to the tail (B2)", function()
    assert.equal("+a +b +c +x +y -y -x -c -b -a", body("/enqueue"))
  end)

  it("refuses to enqueue what is no interceptor, and enqueues nothing of that call (B2)", function()
    local text = body("/enqueue-bad")
    assert.matches("^%+a %+c h %-c %-a falsefalse", text)
  end)

  it("takes an enqueued function for a handler (B2)", function()
    assert.equal("+a f:GET -a", body("/enqueue-function"))
  end)

  it("drops what has not entered at terminate (B3)", function()
    local text = body("/terminate")
    assert.equal("+a +b -b -a", text)
  end)

  it("tries terminate_when's predicate after each enter, its own first (B3)", function()
    assert.equal("+a +b -b -a", body("/terminate-when"))
    assert.equal("+a -a", body("/terminate-when-own"))
  end)

  it("ends enter at a valid response (B4)", function()
    assert.equal("+a +b -b -a", body("/respond"))
  end)

  it("takes an invalid response for an error of the interceptor that set it (B4)", function()
    for _, path in ipairs({ "/bad-response", "/bad-status", "/bad-status-kind" }) do
      local text = body(path)
      assert.matches("stage=enter", text)
      assert.matches("interceptor=b", text)
    end
    assert.matches("a response is a table, this is a number", body("/bad-handler"))
  end)

  it("gives an error to the interceptor itself, then outwards, and says where it came from (B5)", function()
    local text = body("/raise-enter")
    assert.matches("^%+a %+b %+c !c !b\n", text)
    assert.matches("message=boom\nstage=enter\ninterceptor=c\nsuppressed=0\nvalue=boom\ntraceback=true", text)
    text = body("/raise-leave")
    assert.matches("^%+a %+b %+c h %-c %-b !b\n", text)
    assert.matches("stage=leave\ninterceptor=b", text)
  end)

  it("runs the outer leaves when an error is handled (B6)", function()
    assert.equal("+a +b +c !b -a", body("/handled"))
  end)

  it("puts the old error into the new one's suppressed (B6)", function()
    local text = body("/new-error")
    assert.matches("message=newer\nstage=error\ninterceptor=b\nsuppressed=1", text)
    assert.matches("old=older", text)
  end)

  it("gives a later raise in leave to the outer error stages again (B6)", function()
    local text = body("/again")
    assert.matches("^%+a %+b %+c !b %-a\n", text)
    assert.matches("message=second\nstage=leave\ninterceptor=a", text)
  end)

  it("answers an unhandled error with a plain 500 and one log line (B7)", function()
    local response = get("/unhandled")
    assert.equal(500, response.status)
    assert.equal("Internal Server Error\n", response.body)
    local line = s:wait_log("secret detail", 2)
    assert.matches("naked", line)
    assert.matches("enter", line)
    assert.matches("of c", line)
    assert.matches("traceback", line)
    local count = 0
    for _, other in ipairs(s:log()) do
      if other:find("secret detail", 1, true) then count = count + 1 end
    end
    assert.equal(1, count)
  end)

  it("keeps what was raised, a table too (B5)", function()
    assert.matches("message=as a table", body("/table-error"))
  end)

  it("names the stage that returned something else than a context (B8)", function()
    assert.matches("enter of b returned a number", body("/returns-number"))
    assert.matches("enter of r returned a table", body("/returns-response"))
  end)

  it("takes a context that a stage returns (B8)", function()
    assert.equal("copied +b h -b", body("/returns-context"))
  end)

  it("answers 500 when a route gives no response, 404 when none matched (B8)", function()
    assert.equal(500, get("/no-response").status)
    s:wait_log("no response", 2)
    local response = get("/nowhere")
    assert.equal(404, response.status)
    assert.equal("nothing at /nowhere", response.body)
    assert.equal("yes", response.headers["x-outer"][1])
  end)

  it("keeps what enter put into ctx, across waits, for its own exchange only (B9)", function()
    local clients = {}
    for i = 1, 20 do
      clients[i] = raw.connect(s.port)
      clients[i]:send(("GET /state/k%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i))
    end
    for i, c in ipairs(clients) do
      assert.equal(("k%dk%dk%d"):format(i, i, i), c:read_response(5).body)
      c:close()
    end
  end)

  it("keeps the order when stages wait (B11)", function()
    assert.equal("+a +b h -b !b -a", body("/waits"))
  end)
end)

describe("--dev", function()
  it("shows an unhandled error to the client, where it happened and how", function()
    local script = [[return { routes = { { "/", get = { { name = "i", enter = function() error("visible") end },
      function() end } } } }]]
    local s <close> = server.start({ script = script, args = { "--dev" } })
    local response = raw.get(s.port, "/")
    assert.equal(500, response.status)
    assert.matches("visible.*stage: +enter\ninterceptor: +i\n.*app.lua:1: in ", response.body)
  end)
end)

describe("a handler without a parameter for ctx", function()
  local SERVICE = [[
    local tg = require("tidegate")
    local same = { name = "same",
      enter = function(ctx) ctx.mark = "m" end,
      leave = function(ctx) ctx.response.body = ctx.response.body .. ctx.mark .. ctx.request.path end }
    local leave = { name = "leave", leave = function(ctx)
      ctx.response = { body = tostring(ctx.response and ctx.response.body) .. ctx.request.path }
    end }
    return { routes = {
      { "/plain", get = function() return { body = "plain" } end },
      { "/waits", get = function() tg.sleep(0.01) return { body = "waited" } end },
      { "/leave", get = { leave, function(request) return { body = request.method } end } },
      { "/leave-nil", get = { leave, function() tg.sleep(0.01) end } },
      { "/both", get = { same, function() return { body = "b" } end } },
      { "/body", get = function() return { body = function(out, ctx)
        out:write(tostring(ctx.response ~= nil), ctx.request.path, tostring(ctx:response_sent()))
      end } end },
      { "/raises", get = { { name = "e", error = function(ctx, err)
        ctx.response = { body = err.message .. tostring(ctx.response) .. ctx.request.path }
      end }, function() error("oh", 0) end } },
      { "/late", get = { { name = "e", error = function(ctx, err)
        ctx.response = { body = tostring(ctx.response and ctx.response.body) .. ctx.request.path }
      end }, function() return { body = function() error("oh", 0) end } end } },
      { "/file", get = function(request) return { body = assert(io.open(request.query.path)), headers = { A = "a\nb" } } end },
      { "/wrong", get = function() return 42 end },
      { "/none", get = function() end },
    } }
  ]]
  local s

  setup(function() s = server.start({ script = SERVICE }) end)
  teardown(function() s:stop() end)

  local function body(path) return raw.get(s.port, path).body end

  it("answers, and what comes after it has the context all the same (B1)", function()
    assert.equal("plain", body("/plain"))
    assert.equal("waited", body("/waits"))
    assert.equal("GET/leave", body("/leave"))
    assert.equal("nil/leave-nil", body("/leave-nil"))
    assert.equal("bm/both", body("/both"))
    assert.equal("true/bodyfalse", body("/body"))
  end)

  it("that fails, or whose body does, leaves an error stage its context (B5)", function()
    assert.equal("ohnil/raises", body("/raises"))
    assert.equal("nil/late", body("/late"))
    assert.equal(500, raw.get(s.port, "/wrong").status)
    assert.equal(500, raw.get(s.port, "/none").status)
  end)

  it("has its body let go of when that cannot be sent (B15)", function()
    local before = s:fds()
    for _ = 1, 20 do assert.equal(500, raw.get(s.port, "/file?path=/etc/passwd").status) end
    server.eventually(function() return s:fds() <= before + 1 end)
  end)
end)
