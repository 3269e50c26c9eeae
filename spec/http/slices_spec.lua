-- A handler that computes: others have their turns, and it has an end.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local function spin(seconds)
  local till = os.clock() + (seconds or 1e9)
  while os.clock() < till do end
end
local function tight() while true do end end
return {
  limits = { script = 0.4, slice = 0.005, response_timeout = 20 },
  routes = {
    { "/", get = function() return { body = "fine" } end },
    { "/stream", get = function()
      return { body = function(out) while true do out:write("x") tg.sleep(0.005) end end }
    end },
    { "/spin", get = function(request) spin(tonumber(request.query.s)) return { body = "spun" } end },
    { "/tight", get = tight },
    { "/pcall", get = function()
      while true do pcall(function() while true do pcall(tight) end end) end
    end },
    { "/coroutine", get = function()
      local co = coroutine.wrap(function() coroutine.wrap(tight)() end)
      while true do pcall(co) end
    end },
    { "/generator", get = function()
      return { body = tg.generate(function(yield) for i = 1, 3 do spin(0.05) yield(i) end end) }
    end },
    { "/xpcall", get = function() xpcall(tight, tight) return { body = "after" } end },
    { "/last", get = function() return pcall(tight) end },
    { "/close", get = function()
      local co = coroutine.create(function()
        local c <close> = setmetatable({}, { __close = tight })
        coroutine.yield()
      end)
      coroutine.resume(co)
      coroutine.close(co)
    end },
    { "/failed", get = function()
      coroutine.wrap(function()
        local c <close> = setmetatable({}, { __close = tight })
        error("not this")
      end)()
    end },
    { "/hook", get = function() debug.sethook(tight, "l") end },
    { "/sort", get = function() table.sort({ 1, 2, 3, 4 }, function() tight() end) end },
    { "/index", get = function() return setmetatable({}, { __index = tight }).x end },
    { "/tostring", get = function() return tostring(setmetatable({}, { __tostring = tight })) end },
    { "/gsub", get = function() return (("x"):rep(9)):gsub("x", tight) end },
    { "/closer", get = function()
      local c <close> = setmetatable({}, { __close = tight })
      tight()
    end },
    { "/leaves", get = function()
      return { body = function(out)
        local c <close> = setmetatable({}, { __close = tight })
        out:write("begun")
        tg.sleep(100)
      end }
    end },
    { "/waits-in-between", get = function()
      for _ = 1, 8 do spin(0.1) tg.sleep(0) end
      return { body = "waited" }
    end },
    { "/on-close", get = function(_, ctx)
      ctx:on_close(tight)
      return { body = "closing" }
    end },
    { "/handled", interceptors = { { name = "outer",
        error = function(ctx, err) ctx.response = { status = 299, body = err.stage .. ": " .. err.message } end } },
      get = tight },
    { "/sum", get = function()
      local sum = 0
      local t = setmetatable({}, { __add = function(a, b) return 1 end })
      for i = 1, 3e6 do sum = sum + i % 7 end
      return { body = tostring(sum) }
    end },
  },
}
]]

if server.threads_sanitized then
  pending("a handler that computes")
  return
end

describe("a handler that computes", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)

  -- The longest time between two pieces of a stream beside a spinning handler, and how many came.
  local function try()
    local stream <close> = assert(raw.connect(s.port))
    assert(stream:send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"))
    local response = stream:read_head()
    stream:read_chunk(response)
    local spinner <close> = assert(raw.connect(s.port))
    assert(spinner:send("GET /spin?s=0.3 HTTP/1.1\r\nHost: x\r\n\r\n"))
    local gaps, last, till = {}, harness.now(), harness.now() + 300
    while harness.now() < till do
      stream:read_chunk(response)
      local now = harness.now()
      gaps[#gaps + 1] = now - last
      last = now
    end
    table.sort(gaps)
    assert.equal("spun", spinner:read_response(5).body)
    return gaps[#gaps], #gaps
  end

  it("lets other streams go on, with less than 50 ms between their pieces (B63)", timed(function()
    -- What else runs on the machine holds all of us up: one try of several is to hold.
    for _ = 1, 12 do
      local longest, pieces = try()
      if pieces >= 6 and longest < (server.sanitized and 200 or 50) then return end
    end
    error("none of twelve tries")
  end))

  it("answers right whatever was interrupted", function()
    local expected = 0
    for i = 1, 3e6 do expected = expected + i % 7 end
    for _ = 1, 3 do assert.equal(tostring(expected):gsub("%.0$", ""), (raw.get(s.port, "/sum", 20).body:gsub("%.0$", ""))) end
    assert.equal("[1,2,3]", raw.get(s.port, "/generator").body)
  end)

  for _, path in ipairs({ "/tight", "/pcall", "/xpcall", "/last", "/coroutine", "/close", "/failed", "/sort", "/index", "/tostring", "/gsub",
    "/closer" }) do
    it("for ever is stopped with 503, and the next request is fine: " .. path .. " (B63)", timed(function()
      local began = harness.now()
      local seen = #s:log()
      assert.equal(503, raw.get(s.port, path, 20).status)
      assert.is_true(harness.now() - began < (server.sanitized and 20000 or 8000))
      s:wait_log("computed for more than 0.400 s without a wait %(limits.script%)", nil, seen + 1)
      assert.equal("fine", raw.get(s.port, "/").body)
    end))
  end

  it("is stopped when the limit is reached, not long after it", timed(function()
    local least = math.huge
    for _ = 1, 8 do
      local began = harness.now()
      raw.get(s.port, "/tight", 20)
      least = math.min(least, harness.now() - began)
      if least < 550 then break end
    end
    assert.is_true(least >= 395 and least < (server.sanitized and 2000 or 550), least)
  end))

  it("sets no hooks of its own", function()
    local seen = #s:log()
    assert.equal(500, raw.get(s.port, "/hook").status)
    s:wait_log("debug.sethook is not available", nil, seen + 1)
  end)

  it("may be answered for by an error stage", function()
    assert.equal("enter: computed for more than 0.400 s without a wait (limits.script)",
      raw.get(s.port, "/handled", 20).body)
  end)

  it("with waits in between may go on", function()
    assert.equal("waited", raw.get(s.port, "/waits-in-between", 20).body)
  end)

  it("in a <close> variable, when its client has left, is stopped too", function()
    local seen = #s:log()
    local client = assert(raw.connect(s.port))
    assert(client:send("GET /leaves HTTP/1.1\r\nHost: x\r\n\r\n"))
    client:read_head()
    client:reset()
    s:wait_log("a <close> variable of a task that was cancelled: ", nil, seen + 1)
    assert.equal("fine", raw.get(s.port, "/", 20).body)
  end)

  it("in on_close is stopped, and logged", function()
    local seen = #s:log()
    assert.equal("closing", raw.get(s.port, "/on-close").body)
    s:wait_log("on_close: .*computed for more than", nil, seen + 1)
    assert.equal("fine", raw.get(s.port, "/").body)
  end)

  it("is stopped a hundred times without a trace in memory", function()
    local quick <close> = server.start({ script = SCRIPT:gsub("script = 0.4", "script = 0.02") })
    for _ = 1, 10 do raw.get(quick.port, "/coroutine", 20) end
    local before = quick:rss()
    for _ = 1, 90 do assert.equal(503, raw.get(quick.port, "/coroutine", 20).status) end
    if not server.sanitized then assert.is_true(quick:rss() - before < 2048, quick:rss() - before) end
  end)
end)

describe("a function in C that does not come back", function()
  it("is logged, and the other workers go on (B65)", function()
    local s <close> = server.start({ workers = 2, script = [[
      return { limits = { script = 0.1, response_timeout = 0 }, routes = {
        { "/", get = function() return { body = "fine" } end },
        { "/stuck", get = function(request)
          local n = tonumber(request.query.n)
          return { body = tostring((("a"):rep(n):find(("a-"):rep(n // 2) .. "b"))) }
        end },
      } }]] })
    local stuck <close> = assert(raw.connect(s.port))
    assert(stuck:send("GET /stuck?n=34 HTTP/1.1\r\nHost: x\r\n\r\n"))
    s:wait_log("error worker %d: stuck: one call has run for 2 s", 20)
    local served = 0
    for _ = 1, 40 do
      local client <close> = assert(raw.connect(s.port))
      client:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      if client:read_head(0.05) then served = served + 1 end
    end
    assert.is_true(served >= 5, served)
    s:discard()
  end)
end)

describe("a script that computes while it is loaded", function()
  it("is given up after 10 s, whatever it catches", function()
    if server.sanitized then return end -- ten seconds once are enough
    local dir = server.folder()
    local path = dir .. "/app.lua"
    local file <close> = assert(io.open(path, "w"))
    file:write([[
      local function tight() while true do end end
      while true do pcall(coroutine.wrap(function() xpcall(tight, tight) end)) end
    ]])
    file:close()
    local result = server.command({ "check", path }, { timeout = 30 })
    server.remove_folder(dir)
    assert.not_equal(0, result.exit)
    assert.matches("the script takes more than 10 s to load", result.stderr, 1, true)
    assert.matches("in function 'xpcall'", result.stderr, 1, true)
  end)
end)
