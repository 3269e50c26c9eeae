-- The scheduler: tasks that wait, wake, fail, are cancelled, and leave nothing behind.
local probe = require("probe_task")

describe("a task", function()
  local s, t

  before_each(function()
    s = probe.new()
    t = s:task()
  end)
  after_each(function() s:free() end)

  -- How far it is, and what it returned or raised.
  local function state(task)
    local how, value = (task or t):state()
    return how .. ": " .. tostring(value)
  end

  local function run(text)
    t:start(text)
    s:loop()
    return state()
  end

  -- What the script's globals say.
  local function ask(expression)
    local asked = s:task()
    asked:start("return " .. expression)
    local _, value = asked:state()
    asked:free()
    return value
  end

  describe("that waits", function()
    it("goes on where it was, and tells once that it is done", function()
      assert.equal("waiting", t:start("local a = 1; tg.sleep(0.001); return a, 2"))
      assert.equal("waiting", (t:state()))
      s:loop()
      assert.equal("done: 1 2", state())
      assert.equal(1, select(4, t:state()))
    end)

    it("does not tell when it comes to its end at once", function()
      assert.equal("done", t:start("return 1"))
      assert.equal(0, select(4, t:state()))
    end)

    it("holds no other up: a thousand sleep at once (B11)", function()
      local tasks = {}
      for i = 1, 1000 do
        tasks[i] = s:task()
        assert.equal("waiting", tasks[i]:start("tg.sleep(0.05); awake = (awake or 0) + 1"))
      end
      assert.equal("done", t:start("return 'served'"))
      assert.equal("nil", ask("awake"))
      s:loop()
      assert.equal("1000", ask("awake"))
      for _, each in ipairs(tasks) do assert.equal("done", (each:state())) end
    end)

    it("tells its host, from outside of Lua, before the loop goes on", function()
      t:start("probe.park(1); probe.park(1)")
      assert.same({ 1, 0 }, { s:suspended() })
      s:wake(1)
      assert.same({ 2, 0 }, { s:suspended() })
    end)

    it("goes on at once when it is woken from the loop", function()
      t:start("probe.park(1); return 'on'")
      s:wake(1)
      assert.equal("done: on", state())
    end)

    it("goes on from the loop when it is woken while Lua runs", function()
      local other = s:task()
      t:start("probe.park(1); order = order .. ' woken'")
      other:start("order = 'waker'; probe.unpark(1); order = order .. ' ends'")
      assert.equal("waiting", (t:state()))
      s:loop()
      assert.equal("waker ends woken", ask("order"))
    end)

    it("goes on from the loop when what wakes it is no task", function()
      t:start("probe.park(1); woken = true")
      assert.equal("done", (s:enter("probe.unpark(1); assert(not woken)")))
      s:loop()
      assert.equal("true", ask("woken"))
    end)

    it("goes on from the loop when a <close> variable wakes it", function()
      local other = s:task()
      t:start("probe.park(1); order = order .. ' woken'")
      other:start([[
        local x <close> = setmetatable({}, { __close = function()
          order = "closing"
          probe.unpark(1)
          order = order .. " closed"
        end })
        probe.park(2)]])
      other:cancel()
      s:loop()
      assert.equal("closing closed woken", ask("order"))
    end)

    it("loses no wake that comes while the wait is armed", function()
      assert.equal("waiting", t:start("probe.early(); probe.early(); return 'both'"))
      s:loop()
      assert.equal("done: both", state())
    end)

    it("is not woken by a wake that came before", function()
      t:wake()
      t:start("probe.park(1)")
      t:wake()
      t:start("probe.park(1)")
      assert.is_true(t:waiting())
    end)

    it("is not woken by the timer of a wait that did not begin", function()
      t:start("probe.armed(0.001); probe.park(1)")
      s:loop()
      assert.is_true(t:waiting())
    end)

    it("has not timed out when it was woken before, though the time is over by then", function()
      t:start("return probe.park(1, 0)")
      s:enter("probe.unpark(1)")
      s:loop()
      assert.equal("done: false", state())
      assert.equal("done: true", run("return probe.park(1, 0)"))
    end)

    it("leaves no timer when it ends with one armed", function()
      assert.equal("done", t:start("probe.armed(0.001)"))
      assert.equal(0, s:events())
    end)

    it("is not forgotten when one of several that are ready wakes it", function()
      s:task():start("probe.park(1); probe.unpark(3)")
      s:task():start("probe.park(2)")
      t:start("probe.park(3)")
      s:enter("probe.unpark(1) probe.unpark(2)")
      s:loop()
      assert.equal("done", (t:state()))
    end)

    it("has its turn among others that wake each other for ever", function()
      local ping, pong = s:task(), s:task()
      ping:start("while true do probe.park(1); probe.unpark(2); rounds = (rounds or 0) + 1 end")
      pong:start("while true do probe.park(2); probe.unpark(1); if rounds == 9 then break end end")
      s:enter("probe.unpark(1)")
      for _ = 1, 4 do s:step() end
      assert.is_true(tonumber(ask("rounds")) < 9)
      s:loop()
      assert.equal("done", (pong:state()))
    end)
  end)

  describe("that waits where Lua cannot suspend", function()
    it("raises where it waits, in a sort, a gsub and a tostring (B14)", function()
      for _, text in ipairs({
        "table.sort({ 2, 1 }, wait)",
        "('a'):gsub('a', wait)",
        "tostring(setmetatable({}, { __tostring = wait }))",
      }) do
        assert.equal("done: chunk:1: cannot wait here: below a function that cannot be suspended",
          run("local function wait() tg.sleep(0) end " ..
            "return select(2, pcall(function() " .. text .. " end))"))
      end
      assert.equal(0, s:events())
    end)

    it("raises inside the script's own coroutine when that is resumed there (B14)", function()
      assert.equal("done: cannot wait here: below a function that cannot be suspended", run([[
        local caught
        ("a"):gsub("a", coroutine.wrap(function()
          caught = select(2, pcall(tg.sleep, 0))
        end))
        return caught]]))
    end)

    it("raises while the script loads", function()
      local result, why = s:enter("tg.sleep(0)")
      assert.equal("failed", result)
      assert.matches("cannot wait here: no request or task is running", why, 1, true)
    end)

    it("raises in <close> variables of a task that was cancelled", function()
      t:start([[
        local x <close> = setmetatable({}, { __close = function()
          _, why = pcall(tg.sleep, 0)
          _, inner = coroutine.resume(coroutine.create(function() return pcall(tg.sleep, 0) end))
        end })
        probe.park(1)]])
      t:cancel()
      assert.equal("cannot wait here: the task has ended", ask("why"))
      assert.equal("false", ask("inner"))
    end)

    it("waits in metamethods of Lua functions, and in pcall and xpcall (B14)", function()
      assert.equal("done: key true 1 false handled", run([[
        local t = setmetatable({}, { __index = function(_, key) tg.sleep(0) return key end })
        local ok, one = pcall(function() tg.sleep(0) return 1 end)
        local function handler() return "handled" end
        local bad, handled = xpcall(function() tg.sleep(0) error("x") end, handler)
        return t.key, ok, one, bad, handled]]))
    end)

    it("waits in the iterator of a for (B14)", function()
      assert.equal("done: 1 2 3", run([[
        local function step(_, i) tg.sleep(0) if i < 3 then return i + 1 end end
        local parts = {}
        for i in step, nil, 0 do parts[#parts + 1] = i end
        return table.concat(parts, " ")]]))
    end)

    it("fails when a library yields that knows nothing of tasks", function()
      assert.equal("failed", t:start("probe.foreign_yield()"))
      assert.matches("yield from outside a coroutine", select(2, t:state()))
      assert.equal("done: 1", run("return 1"))
    end)

    it("raises in a coroutine that a library has resumed", function()
      assert.equal("done: 2 chunk:1: cannot wait here: in a coroutine that a library has resumed",
        run("return probe.foreign_resume(coroutine.create(function() tg.sleep(0) end))"))
    end)
  end)

  describe("that fails", function()
    it("keeps what was raised, and where", function()
      t:start("local function inner() error('bad') end inner()")
      assert.equal("failed: chunk:1: bad", state())
      assert.matches("in local 'inner'", select(3, t:state()))
    end)

    it("keeps it after waits, and tells once", function()
      t:start("tg.sleep(0); error({ 1 })")
      s:loop()
      assert.matches("^failed: table: ", state())
      assert.matches("main chunk", select(3, t:state()))
      assert.equal(1, select(4, t:state()))
    end)

    it("keeps nil and false", function()
      t:start("error(nil)")
      assert.equal("nil", select(2, t:state()))
      t:start("error(false)")
      assert.equal("false", select(2, t:state()))
    end)

    it("runs its <close> variables, innermost first, with the error", function()
      assert.matches("^failed: .*bad$", run([[
        closed = {}
        local function closer(name)
          return setmetatable({}, {
            __close = function(_, e) closed[#closed + 1] = name .. tostring(e) end
          })
        end
        local outer <close> = closer("outer ")
        local inner <close> = closer("inner ")
        tg.sleep(0)
        error("bad")]]))
      assert.equal("inner chunk:10: bad,outer chunk:10: bad", ask("table.concat(closed, ',')"))
    end)

    it("can be started again", function()
      for _ = 1, 3 do
        assert.equal("failed", t:start("error('x')"))
        assert.equal("done", t:start("return 1"))
      end
    end)

    it("leaves no message handler to those after it", function()
      t:start("xpcall(function() probe.park(1) end, function() return 'not mine' end)")
      t:cancel()
      t:free()
      for _ = 1, 3 do
        local after = s:task()
        after:start("local a, b, c, d = 1, 2, 3, 4; error('fresh', 0)")
        assert.equal("fresh", select(2, after:state()))
        after:free()
      end
    end)
  end)

  describe("that is cancelled", function()
    it("disarms its wait and runs its <close> variables, and is not told (B13, B15)", function()
      t:start([[
        local x <close> = setmetatable({}, {
          __close = function(_, e) closed = "closed " .. tostring(e) end
        })
        probe.park(1)]])
      t:cancel()
      assert.equal(1, s:cancelled())
      assert.equal("closed nil", ask("closed"))
      assert.is_false(s:wake(1))
      assert.equal(0, select(4, t:state()))
      assert.is_false(t:waiting())
    end)

    it("leaves no timer behind", function()
      t:start("tg.sleep(100)")
      assert.equal(1, s:events())
      t:cancel()
      assert.equal(0, s:events())
    end)

    it("closes the script's own coroutines below it, innermost first (B13, B14)", function()
      t:start([[
        closed = {}
        local function closer(name)
          return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
        end
        local x <close> = closer("task")
        local co = coroutine.create(function()
          local y <close> = closer("resumed")
          for _ in coroutine.wrap(function()
            local z <close> = closer("wrapped")
            probe.park(1)
          end) do end
        end)
        coroutine.resume(co)]])
      t:cancel()
      assert.equal("wrapped resumed task", ask("table.concat(closed, ' ')"))
    end)

    it("closes them on a wait after the first, too", function()
      t:start([[
        for i in coroutine.wrap(function()
          local z <close> = setmetatable({}, { __close = function() closed = true end })
          for i = 1, 2 do probe.park(i); coroutine.yield(i) end
        end) do last = i end]])
      s:wake(1)
      t:cancel()
      assert.equal("1", ask("last"))
      assert.equal("true", ask("closed"))
    end)

    it("may have been woken already", function()
      local other = s:task()
      t:start("probe.park(1); gone_on = true")
      other:start("probe.unpark(1)")
      t:cancel()
      s:loop()
      assert.equal(0, s:cancelled())
      assert.equal("nil", ask("gone_on"))
    end)

    it("can be started again", function()
      t:start("probe.park(1)")
      t:cancel()
      assert.equal("done: 1", run("return 1"))
    end)

    it("by a script is closed as one that is cancelled by its host", function()
      local other = s:task()
      t:start([[
        local x <close> = setmetatable({}, { __close = function()
          log = select(2, pcall(tg.sleep, 0))
          for i in coroutine.wrap(function() coroutine.yield(1) end) do log = log .. i end
        end })
        probe.park(1)]])
      other:start("probe.cancel(1) tg.sleep(0) return 'on'")
      assert.equal("cannot wait here: the task has ended1", ask("log"))
      s:loop()
      assert.equal("done: on", state(other))
    end)

    it("logs an error in a <close> variable, which harms nothing", function()
      t:start([[
        local x <close> = setmetatable({}, { __close = function() closed = true end })
        local y <close> = setmetatable({}, { __close = function() error("in closing") end })
        probe.park(1)]])
      t:cancel()
      assert.same({
        "info: a <close> variable of a task that was cancelled: chunk:2: in closing",
      }, s:log())
      assert.equal("true", ask("closed"))
    end)

    it("while it has not begun to wait, or has ended, is left alone", function()
      t:cancel()
      t:start("probe.park(1)")
      s:wake(1)
      for _, text in ipairs({ "return 1", "error(1, 0)" }) do
        t:cancel()
        t:start(text)
        t:cancel()
        assert.equal("1", select(2, t:state()))
      end
      assert.equal(0, s:cancelled())
    end)
  end)

  describe("when it is done", function()
    it("may free itself", function()
      local freed = s:task("free")
      freed:start("tg.sleep(0)")
      s:loop()
      assert.equal(1, select(4, freed:state()))
      assert.equal(0, s:events())
    end)

    it("may start again", function()
      local again = s:task("again")
      again:start("n = (n or 0) + 1; tg.sleep(0); return n")
      s:loop()
      assert.equal("done: 2", state(again))
      assert.equal(2, select(4, again:state()))
    end)

    it("may free itself among others that are ready", function()
      local freed = {}
      for i = 1, 3 do
        freed[i] = s:task("free")
        freed[i]:start("probe.park(" .. i .. ")")
      end
      s:enter("for i = 1, 3 do probe.unpark(i) end")
      s:loop()
      for i = 1, 3 do assert.equal(1, select(4, freed[i]:state())) end
    end)
  end)

  describe("that is freed", function()
    local rounds = {
      finished = "return 1",
      failed = "error('x')",
      cancelled = "local x <close> = setmetatable({}, { __close = function() end }); probe.park(1)",
      ["cancelled in coroutines"] = "for _ in coroutine.wrap(function() probe.park(1) end) do end",
      ["cancelled in a wait"] = "tg.wait(function(resume) kept = resume end, 100)",
    }
    for name, text in pairs(rounds) do
      it("leaves no memory behind, " .. name .. " (B15)", function()
        local function round(n)
          for _ = 1, n do
            local each = s:task()
            each:start(text)
            each:free()
          end
          s:enter("collectgarbage() collectgarbage()")
          return s:memory()
        end
        local before = round(20)
        assert.equal(before, round(300))
      end)
    end

    it("leaves no memory behind when nobody asks what it failed with", function()
      local silent = s:task("silent")
      local function round(n)
        for _ = 1, n do silent:start("error('x')") end
        s:enter("collectgarbage() collectgarbage()")
        return s:memory()
      end
      local before = round(20)
      assert.equal(before, round(300))
    end)

    it("gives its coroutine to the next", function()
      t:start("return coroutine.running()")
      local _, first = t:state()
      t:free()
      t = s:task()
      assert.equal("done: " .. first, run("return coroutine.running()"))
    end)

    it("gives its coroutine away up to a bound", function()
      local function many(n)
        local tasks = {}
        for i = 1, n do tasks[i] = s:task() end
        for i = 1, n do tasks[i]:free() end
        s:enter("collectgarbage() collectgarbage()")
        return s:memory()
      end
      local first = many(256)
      assert.equal(first, many(256))
      assert.is_true(many(2000) - first < 50000) -- a coroutine takes some 1,200 bytes
    end)
  end)
end)

describe("tg.wait", function()
  local s, t

  before_each(function()
    s = probe.new()
    t = s:task()
  end)
  after_each(function() s:free() end)

  local function run(text)
    t:start(text)
    s:loop()
    local state, value = t:state()
    return state .. ": " .. tostring(value)
  end

  it("returns what resume was given, nils too (B12)", function()
    t:start("return select('#', tg.wait(function(resume) kept = resume end))")
    s:enter("kept(nil, 2, nil)")
    s:loop()
    assert.equal("3", select(2, t:state()))
    t:start("return tg.wait(function(resume) kept = resume end)")
    s:enter("kept(1, 'two', nil)")
    s:loop()
    assert.equal("1 two nil", select(2, t:state()))
  end)

  it("counts the first resume only (B12)", function()
    t:start("return tg.wait(function(resume) kept = resume end)")
    assert.equal("done", (s:enter("assert(kept(1) == true) assert(kept(2) == false)")))
    s:loop()
    assert.equal("1", select(2, t:state()))
    assert.equal("done", (s:enter("assert(kept(3) == false)")))
  end)

  it("does not suspend when resume is called at once (B12)", function()
    assert.equal("done", t:start("return tg.wait(function(resume) resume('now') end)"))
    assert.equal("now", select(2, t:state()))
    assert.equal(0, (s:suspended()))
  end)

  it("returns nil and why after its timeout, and resume is false from then on (B12)", function()
    assert.equal("done: nil timeout",
      run("return tg.wait(function(resume) kept = resume end, 0.001)"))
    assert.equal("done", (s:enter("assert(kept() == false)")))
  end)

  it("leaves no timer when it is resumed before", function()
    t:start("tg.wait(function(resume) kept = resume end, 100)")
    s:enter("kept()")
    s:loop()
    assert.equal("done", (t:state()))
    assert.equal(0, s:events())
  end)

  it("propagates an error of the function, and resume is false from then on", function()
    assert.matches("^failed: chunk:1: bad",
      run("tg.wait(function(resume) kept = resume; error('bad') end)"))
    assert.equal("done", (s:enter("assert(kept() == false)")))
  end)

  it("makes resume false when the task was cancelled (B12)", function()
    t:start("tg.wait(function(resume) kept = resume end)")
    t:cancel()
    assert.equal("done", (s:enter("assert(kept() == false)")))
  end)

  it("makes resume harmless after the task's life", function()
    t:start("tg.wait(function(resume) kept = resume end)")
    t:free()
    assert.equal("done", (s:enter("assert(kept() == false) collectgarbage()")))
    assert.equal("done", (s:enter("assert(kept() == false)")))
  end)

  it("waits for nobody when resume is dropped and collected, until it is cancelled", function()
    t:start("tg.wait(function() end)")
    s:enter("collectgarbage() collectgarbage()")
    s:loop()
    assert.is_true(t:waiting())
    t:cancel()
    assert.is_false(t:waiting())
  end)

  it("lets the function itself wait", function()
    assert.equal("done: x", run("return tg.wait(function(resume) tg.sleep(0); resume('x') end)"))
    t:start("return tg.wait(function(resume) kept = resume; probe.park(1) end)")
    s:enter("kept('meanwhile')")
    s:wake(1)
    assert.equal("meanwhile", select(2, t:state()))
  end)

  it("works inside the script's own coroutines (B14)", function()
    t:start([[
      for v in coroutine.wrap(function()
        coroutine.yield(tg.wait(function(resume) kept = resume end))
      end) do got = v end]])
    s:enter("kept(5)")
    s:loop()
    assert.equal("done", (s:enter("assert(got == 5)")))
  end)

  it("refuses what is no function, and a time that is none", function()
    assert.matches("function expected", run("tg.wait(1)"))
    assert.matches("seconds of zero or more", run("tg.wait(function() ran = true end, -1)"))
    assert.matches("seconds of zero or more", run("tg.sleep(0/0)"))
    assert.equal("done", (s:enter("assert(not ran)")))
  end)

  it("sleeps for ever without overflowing", function()
    t:start("tg.sleep(math.huge)")
    assert.is_true(t:waiting())
    s:step()
    assert.is_true(t:waiting())
  end)
end)

describe("tg.log and the clocks", function()
  local s

  before_each(function() s = probe.new() end)
  after_each(function() s:free() end)

  it("logs a line of its arguments, by tostring, with the level", function()
    s:enter("tg.log.info('a', 1, nil, true) tg.log.warn() tg.log.error('two\\nlines')")
    assert.same({ "info: a 1 nil true", "warn: ", "error: two | lines" }, s:log())
  end)

  it("makes no line below the level that is logged", function()
    s:enter([[
      tg.log.debug(setmetatable({}, { __tostring = function() called = true return "" end }))]])
    assert.same({}, s:log())
    assert.equal("done", (s:enter("assert(not called)")))
  end)

  it("tells the time, and a time that does not go back", function()
    assert.equal("done", (s:enter([[
      assert(math.abs(tg.now() - os.time()) < 5 and math.type(tg.now()) == "float")
      local a = tg.monotonic()
      assert(tg.monotonic() >= a)]])))
  end)
end)
