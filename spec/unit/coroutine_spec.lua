-- The script's own coroutines: as Lua documents them, and transparent to waits.
local probe = require("probe_task")

describe("coroutines of the script's own", function()
  local s, t

  before_each(function()
    s = probe.new()
    t = s:task()
  end)
  after_each(function() s:free() end)

  local function state()
    local how, value = t:state()
    return how .. ": " .. tostring(value)
  end

  local function run(text)
    t:start(text)
    s:loop()
    return state()
  end

  -- Every chunk gives in a task what it gives here, where the functions are Lua's.
  local chunks = {
    ["pass values in and out"] = [[
      local co = coroutine.create(function(a, b)
        local c, d = coroutine.yield(a + b, nil)
        return c, d, nil
      end)
      local function show(...) return select("#", ...) .. ":" .. table.concat(
        { tostring((...)), tostring((select(2, ...))), tostring((select(3, ...))) }, ",") end
      return show(coroutine.resume(co, 1, 2)) .. " " .. show(coroutine.resume(co, 3)) .. " " ..
        coroutine.status(co)]],
    ["cannot be resumed when they are dead"] = [[
      local co = coroutine.create(function() end)
      coroutine.resume(co)
      return coroutine.resume(co)]],
    ["cannot be resumed when an error has killed them"] = [[
      local co = coroutine.create(function() error("x") end)
      local _, first = coroutine.resume(co)
      return first, coroutine.status(co), coroutine.resume(co)]],
    ["cannot be resumed by themselves"] = [[
      local co
      co = coroutine.create(function() return coroutine.resume(co) end)
      return coroutine.resume(co)]],
    ["cannot be resumed by what they have resumed"] = [[
      local outer
      outer = coroutine.create(function()
        return coroutine.wrap(function()
          return coroutine.status(outer), coroutine.resume(outer)
        end)()
      end)
      return coroutine.resume(outer)]],
    ["give any value as the error of resume"] = [[
      local _, e = coroutine.resume(coroutine.create(function() error({ code = 7 }) end))
      return e.code, coroutine.resume(coroutine.create(function() error() end))]],
    ["add the place to an error that goes through wrap"] = [[
      local f = coroutine.wrap(function() error("inner") end)
      local function call()
        local x = f()
        return x
      end
      return pcall(call)]],
    ["add no place to an error that is no text"] = [[
      local mine = {}
      local _, e = pcall(coroutine.wrap(function() error(mine) end))
      return e == mine]],
    ["add the place when a wrapped one is dead"] = [[
      local f = coroutine.wrap(function() end)
      f()
      return pcall(function() return (f()) end)]],
    ["close what an error in a wrapped one leaves open"] = [[
      local log = {}
      local _, e = pcall(coroutine.wrap(function()
        local x <close> = setmetatable({}, { __close = function(_, e) log[#log + 1] = e end })
        error("inner")
      end))
      return table.concat(log), e]],
    ["let a closer's error take the place of a wrapped one's"] = [[
      local _, e = pcall(coroutine.wrap(function()
        local x <close> = setmetatable({}, { __close = function() error("closer") end })
        error("inner")
      end))
      return e]],
    ["leave open what an error in a resumed one leaves open, until they are closed"] = [[
      local log = {}
      local co = coroutine.create(function()
        local x <close> = setmetatable({}, {
          __close = function(_, e) log[#log + 1] = tostring(e) end
        })
        error("inner")
      end)
      coroutine.resume(co)
      local before = #log
      return before, coroutine.close(co), log[1], coroutine.close(co)]],
    ["are closed with true, or false and an error"] = [[
      local function suspended(fail)
        local co = coroutine.create(function()
          local x <close> = setmetatable({}, {
            __close = function() if fail then error(fail) end end
          })
          coroutine.yield()
        end)
        coroutine.resume(co)
        return co
      end
      local co, mine = suspended(), {}
      local _, e = coroutine.close(suspended(mine))
      return coroutine.close(co), coroutine.status(co), e == mine,
        coroutine.close(suspended("x"))]],
    ["cannot be closed when they run or are normal"] = [[
      local outer
      outer = coroutine.create(function()
        local _, running = pcall(coroutine.close, (coroutine.running()))
        local _, normal = coroutine.wrap(function() return pcall(coroutine.close, outer) end)()
        return running, normal
      end)
      return coroutine.resume(outer)]],
    ["can be closed before they have begun"] = [[
      local co = coroutine.create(function() end)
      return coroutine.close(co), coroutine.status(co)]],
    ["take and give many values"] = [[
      local co = coroutine.create(function(...) return select("#", ...) end)
      local ok, n = coroutine.resume(co, table.unpack({}, 1, 200))
      local many = coroutine.wrap(function() return table.unpack({}, 1, 5000) end)
      return ok, n, select("#", many())]],
    ["refuse wrong arguments as Lua does"] = [[
      return select(2, pcall(coroutine.resume, 1)), select(2, pcall(coroutine.wrap, 1)),
        select(2, pcall(coroutine.close, {}))]],
    ["overflow the C stack as an error"] = [[
      local n = 0
      local function nest()
        n = n + 1
        local ok, e = coroutine.resume(coroutine.create(nest))
        return ok and e or e
      end
      return (nest():gsub(".*(C stack overflow).*", "%1"))]],
    ["yield across pcall and metamethods"] = [[
      local t = setmetatable({}, { __index = function(_, k) return coroutine.yield(k) end })
      local co = coroutine.wrap(function() return pcall(function() return t.key end) end)
      local key = co()
      return key, co("value")]],
    ["are an iterator"] = [[
      local sum = 0
      local function each() for i = 1, 100 do coroutine.yield(i) end end
      for i in coroutine.wrap(each) do sum = sum + i end
      return sum]],
  }

  for name, text in pairs(chunks) do
    it(name, function()
      local values = table.pack(assert(load(text, "=chunk"))())
      for i = 1, values.n do values[i] = tostring(values[i]) end
      local expected = table.concat(values, " ")
      assert.is_true(#expected > 0)
      assert.equal("done: " .. expected, run(text))
    end)
  end

  it("yield while the script loads", function()
    assert.equal("done", (s:enter([[
      local sum = 0
      local function each() for i = 1, 3 do coroutine.yield(i) end end
      for i in coroutine.wrap(each) do sum = sum + i end
      assert(sum == 6)]])))
    local result, why = s:enter("coroutine.yield()")
    assert.equal("failed", result)
    assert.matches("attempt to yield from outside a coroutine", why, 1, true)
  end)

  it("yield in <close> variables of a task that was cancelled", function()
    t:start([[
      local x <close> = setmetatable({}, { __close = function()
        for i in coroutine.wrap(function() coroutine.yield(4) end) do got = i end
      end })
      probe.park(1)]])
    t:cancel()
    assert.equal("done", (s:enter("assert(got == 4)")))
  end)

  it("are what yields: a task itself does not", function()
    assert.equal("failed: attempt to yield from outside a coroutine", run("coroutine.yield(1)"))
    assert.equal("done: false attempt to yield from outside a coroutine",
      run("tg.sleep(0) return pcall(coroutine.yield)"))
  end)

  describe("that wait", function()
    it("suspend the task, and keep their yields for their resumer (B14)", function()
      assert.equal("waiting", t:start([[
        local parts = {}
        for i in coroutine.wrap(function()
          for i = 1, 3 do
            tg.sleep(0)
            coroutine.yield(i)
          end
          tg.sleep(0)
        end) do parts[#parts + 1] = i end
        return table.concat(parts, " ")]]))
      s:loop()
      assert.equal("done: 1 2 3", state())
    end)

    it("pass a wait through every level, by wrap and by resume (B14)", function()
      assert.equal("done: true deep 3 true last", run([[
        local function level(n)
          if n == 0 then
            local v = tg.wait(function(resume) resume("x") end)
            tg.sleep(0)
            coroutine.yield("deep")
            tg.sleep(0)
            return "last"
          end
          if n % 2 == 0 then
            local f = coroutine.wrap(level)
            coroutine.yield(f(n - 1))
            return f()
          end
          local co = coroutine.create(level)
          local ok, v = coroutine.resume(co, n - 1)
          coroutine.yield(v)
          ok, v = coroutine.resume(co)
          return v
        end
        local co = coroutine.create(level)
        local ok, first = coroutine.resume(co, 6)
        tg.sleep(0)
        local again, last = coroutine.resume(co)
        return ok, first, 3, again, last]]))
    end)

    it("wait deeper and deeper", function()
      assert.equal("done: 20", run([[
        local function nest(n)
          if n == 0 then return tg.sleep(0) end
          coroutine.wrap(nest)(n - 1)
        end
        for n = 1, 20 do
          nest(n)
          deepest = n
        end
        return deepest]]))
    end)

    it("wait as deep as Lua nests coroutines", function()
      assert.equal("done: 150", run([[
        local function nest(n)
          if n == 150 then tg.sleep(0) return n end
          return coroutine.wrap(nest)(n + 1)
        end
        return nest(1)]]))
    end)

    it("raise with their place through wrap after a wait", function()
      assert.equal("done: chunk:3: chunk:1: bad", run([[
        local f = coroutine.wrap(function() tg.sleep(0) error("bad") end)
        return select(2, pcall(function()
          local x = f()
        end))]]))
    end)

    it("give resume false and the error after a wait", function()
      assert.equal("done: false chunk:1: bad dead", run([[
        local co = coroutine.create(function() tg.sleep(0) error("bad") end)
        local ok, why = coroutine.resume(co)
        return ok, why, coroutine.status(co)]]))
    end)

    it("return after a wait, nils too", function()
      assert.equal("done: 3", run([[
        return select("#", coroutine.wrap(function() tg.sleep(0) return nil, 1, nil end)())]]))
    end)

    it("are nobody else's to resume or close, and go on unharmed (B14)", function()
      local other = s:task()
      t:start([[
        main = coroutine.running()
        inner = coroutine.create(function() probe.park(1) return "unharmed" end)
        return coroutine.resume(inner)]])
      for _, name in ipairs({ "inner", "main" }) do
        other:start("return coroutine.resume(" .. name .. ")")
        assert.equal("false cannot resume non-suspended coroutine", (select(2, other:state())))
        other:start("coroutine.close(" .. name .. ")")
        assert.equal("chunk:1: cannot close a waiting coroutine", (select(2, other:state())))
      end
      s:wake(1)
      assert.equal("done: true unharmed", state())
    end)

    it("may be resumed by another task when it is their yield that they are at", function()
      local other = s:task()
      t:start([[
        shared = coroutine.wrap(function()
          for i = 1, 2 do
            tg.sleep(0)
            coroutine.yield(i)
          end
        end)
        return shared()]])
      s:loop()
      other:start("return shared()")
      s:loop()
      assert.same({ "1", "2" }, { select(2, t:state()), (select(2, other:state())) })
    end)

    it("cannot wait in what coroutine.close closes", function()
      assert.equal("done: false chunk:1: cannot wait here: " ..
        "below a function that cannot be suspended", run([[
          local x = setmetatable({}, { __close = function() tg.sleep(0) end })
          local co = coroutine.create(function() local y <close> = x; coroutine.yield() end)
          coroutine.resume(co)
          return coroutine.close(co)]]))
    end)

    it("are let go of when the task is cancelled", function()
      t:start([[
        weak = setmetatable({}, { __mode = "v" })
        local co = coroutine.create(function() probe.park(1) end)
        weak[1] = co
        return coroutine.resume(co)]])
      assert.equal("done", (s:enter("collectgarbage() collectgarbage() assert(weak[1])")))
      t:cancel()
      assert.equal("done", (s:enter("collectgarbage() collectgarbage() assert(not weak[1])")))
    end)
  end)
end)
