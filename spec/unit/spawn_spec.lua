-- Tasks that scripts spawn: what they give back, what they end with, and that nothing stays behind.
local probe = require("probe_task")

local LIBRARY = [[
  package.loaded["tidegate.core"] = tg
  for name, fn in pairs(require("tidegate.tasks")) do tg[name] = fn end
  log = {}
  function note(...)
    log[#log + 1] = table.concat({ ... }, " ")
  end
  function closer(name)
    return setmetatable({}, { __close = function() note(name) end })
  end
  function sleeper(name)
    return function()
      local x <close> = closer(name)
      probe.park(1)
    end
  end
]]

describe("a task that was spawned", function()
  local s, t

  before_each(function()
    s = probe.new()
    assert(s:enter(LIBRARY) == "done")
    t = s:task()
    t:scope()
  end)
  after_each(function() s:free() end)

  local function state(task)
    local how, value = (task or t):state()
    return how .. ": " .. tostring(value)
  end

  local function run(text)
    t:start(text)
    s:loop()
    return state()
  end

  local function ask(expression)
    local result, why = s:enter("asked = tostring(" .. expression .. ")")
    assert(result == "done", why)
    local asked = s:task()
    asked:start("return asked")
    local _, value = asked:state()
    asked:free()
    return value
  end

  local function notes() return ask("table.concat(log, ',')") end

  describe("and joined", function()
    it("gives back what its function returned, nils too", function()
      assert.equal("done: 4 nil b nil", run([[
        local task = tg.spawn(function(a, b) tg.sleep(0) return nil, b, nil end, "a", "b")
        return select("#", task:join()) + 1, task:join()]]))
      assert.equal("done: 0", run("return select('#', tg.spawn(function() end):join())"))
    end)

    it("begins when the caller waits, and not before", function()
      assert.equal("done: spawner,task", run([[
        local order = {}
        local task = tg.spawn(function() order[#order + 1] = "task" end)
        order[#order + 1] = "spawner"
        task:join()
        return table.concat(order, ",")]]))
    end)

    it("can be joined twice, by several, before and after its end", function()
      assert.equal("done: 1 1 1 1", run([[
        local task = tg.spawn(function() tg.sleep(0.001) return 1 end)
        local others = {}
        for i = 1, 2 do others[i] = tg.spawn(function() return task:join() end) end
        local first = task:join()
        return first, task:join(), others[1]:join(), others[2]:join()]]))
    end)

    it("wakes those that join in their order", function()
      assert.equal("done: 123", run([[
        local order = ""
        local task = tg.spawn(function() tg.sleep(0.001) end)
        local others = {}
        for i = 1, 3 do others[i] = tg.spawn(function() task:join() order = order .. i end) end
        for i = 1, 3 do others[i]:join() end
        return order]]))
    end)

    it("raises what it has raised, the very value, as often as it is joined", function()
      assert.equal("done: true true", run([[
        local value = { 1 }
        local task = tg.spawn(function() error(value) end)
        local _, first = pcall(task.join, task)
        local _, second = pcall(task.join, task)
        return first == value, second == value]]))
      assert.same({}, s:log())
    end)

    it("keeps its traceback in that of who joins", function()
      assert.matches("^failed: chunk:1: bad", run([[local function inner() error("bad") end
        local function outer() tg.spawn(inner):join() end
        outer()]]))
      local traceback = select(3, t:state())
      assert.matches("local 'outer'.*in the task that was joined:\nstack traceback:.*chunk:1", traceback)
    end)

    it("keeps it through tasks that join each other, and coroutines", function()
      run([[
        local function inner() error("bad", 0) end
        coroutine.wrap(function()
          tg.spawn(function() tg.spawn(inner):join() end):join()
        end)()]])
      local _, count = select(3, t:state()):gsub("in the task that was joined", "")
      assert.equal(2, count)
    end)

    it("adds no traceback to another error", function()
      run([[
        pcall(tg.spawn(error).join, tg.spawn(error, "one"))
        error("two")]])
      assert.not_matches("joined", select(3, t:state()))
    end)

    it("cannot join itself, nor one that waits for it", function()
      assert.matches("a task cannot join itself", run([[
        local me
        me = tg.spawn(function() me:join() end)
        me:join()]]))
      assert.matches("waits for this one to end", run([[
        local a, b
        a = tg.spawn(function() b:join() end)
        b = tg.spawn(function() a:join() end)
        b:join()]]))
    end)

    it("cannot be joined where nothing can wait", function()
      run("kept = tg.spawn(function() tg.sleep(0) end)")
      assert.equal("done: false", run([[
        local task = tg.spawn(function() probe.park(1) end)
        tg.sleep(0)
        return (pcall(table.sort, { 1, 2 }, function() task:join() end))]]))
    end)

    it("is forgotten by one that is cancelled while it joins", function()
      run([[
        task = tg.spawn(function() probe.park(1) return 1 end)
        joiner = tg.spawn(function() task:join() end)
        tg.sleep(0)
        joiner:cancel()]])
      s:wake(1)
      s:loop()
      assert.equal("done cancelled", ask("task:status() .. ' ' .. joiner:status()"))
    end)

    it("forgets whom it joined when it is cancelled, before that is collected", function()
      assert.equal("done: false the task was cancelled", run([[
        local joined = tg.spawn(probe.park, 1)
        local middle = tg.spawn(function() joined:join() end)
        local first = tg.spawn(function() pcall(middle.join, middle) end)
        tg.sleep(0)
        middle:cancel()
        joined:cancel()
        joined = nil
        collectgarbage() collectgarbage()
        return pcall(tg.spawn(first.join, first).join, middle)]]))
    end)

    it("takes thousands of arguments and results", function()
      assert.equal("done: 5000", run([[
        return select("#", tg.spawn(function(...) return ... end, table.unpack({}, 1, 5000)):join())]]))
    end)
  end)

  describe("and waits", function()
    it("yields to others with tg.sleep(0), each in turn", function()
      assert.equal("done: abcabcabc", run([[
        local order = ""
        local tasks = {}
        for _, name in ipairs { "a", "b", "c" } do
          tasks[#tasks + 1] = tg.spawn(function()
            for _ = 1, 3 do order = order .. name tg.sleep(0) end
          end)
        end
        for _, task in ipairs(tasks) do task:join() end
        return order]]))
    end)

    it("may do so in its own coroutines (B14)", function()
      assert.equal("done: 6", run([[
        return tg.spawn(function()
          local sum = 0
          for i in coroutine.wrap(function()
            for i = 1, 3 do tg.sleep(0.001) coroutine.yield(i) end
          end) do sum = sum + i end
          return sum
        end):join()]]))
    end)

    it("says how it is", function()
      assert.equal("done: waiting running waiting done", run([[
        local how
        local task
        task = tg.spawn(function() how = task:status() tg.sleep(0.001) end)
        local first = task:status()
        tg.sleep(0)
        local then_ = task:status()
        task:join()
        return first, how, then_, task:status()]]))
    end)

    it("is not collected, though nobody holds it", function()
      t:start("tg.spawn(function() probe.park(1) note('on') end)")
      s:step()
      s:enter("collectgarbage() collectgarbage()")
      s:wake(1)
      assert.equal("on", notes())
    end)

    it("sleeps in the order of the times", function()
      assert.equal("done: 1 2 3", run([[
        local order = {}
        local tasks = {}
        for _, i in ipairs { 3, 1, 2 } do
          tasks[#tasks + 1] = tg.spawn(function() tg.sleep(i / 200) order[#order + 1] = i end)
        end
        for _, task in ipairs(tasks) do task:join() end
        return table.concat(order, " ")]]))
      assert.equal(0, s:events())
    end)

    it("does not wake before its time", function()
      assert.equal("done: true", run([[
        local least = math.huge
        for _ = 1, 20 do
          local start = tg.monotonic()
          tg.sleep(0.0021)
          least = math.min(least, tg.monotonic() - start)
        end
        return least >= 0.0021]]))
    end)
  end)

  describe("and cancelled", function()
    it("runs its <close> variables, innermost first, and leaves its wait (B15)", function()
      assert.matches("^failed: .*the task was cancelled", run([[
        local task = tg.spawn(function()
          local a <close> = closer("task")
          for _ in coroutine.wrap(function()
            local b <close> = closer("coroutine")
            coroutine.wrap(function()
              local c <close> = closer("inner")
              probe.park(1)
            end)()
          end) do end
        end)
        tg.sleep(0)
        task:cancel()
        note(task:status())
        task:join()]]))
      assert.equal("inner,coroutine,task,cancelled", notes())
      assert.equal(1, s:cancelled())
      assert.same({}, s:log())
    end)

    it("raises an error that says so", function()
      assert.equal("done: true the task was cancelled true", run([[
        local task = tg.spawn(probe.park, 1)
        task:cancel()
        local ok, err = pcall(task.join, task)
        return not ok, tostring(err), err.cancelled]]))
    end)

    it("before it begins never begins", function()
      assert.equal("done: nil", run([[
        local began
        local task = tg.spawn(function() began = true end)
        task:cancel()
        tg.sleep(0)
        return began]]))
    end)

    it("twice, or over, is left alone", function()
      assert.equal("done: 1 cancelled", run([[
        local task = tg.spawn(function() return 1 end)
        local other = tg.spawn(function() probe.park(1) end)
        task:join()
        task:cancel()
        other:cancel()
        other:cancel()
        return task:join(), other:status()]]))
    end)

    it("by itself ends there", function()
      assert.equal("done: before closed cancelled", run([[
        local said = {}
        local me
        me = tg.spawn(function()
          local x <close> = setmetatable({}, { __close = function() said[#said + 1] = "closed" end })
          said[#said + 1] = "before"
          pcall(me.cancel, me)
          said[#said + 1] = "after"
        end)
        tg.sleep(0.001)
        return table.concat(said, " "), me:status()]]))
    end)

    it("by itself where it cannot wait ends at its next wait", function()
      assert.equal("done: after,closed", run([[
        local me
        me = tg.spawn(function()
          local x <close> = closer("closed")
          table.sort({ 1, 2 }, function() pcall(me.cancel, me) return false end)
          note("after")
          tg.sleep(0)
          note("never")
        end)
        tg.sleep(0.001)
        return table.concat(log, ",")]]))
    end)

    it("takes what it has spawned with it, children first", function()
      assert.equal("done: grandchild,child,parent", run([[
        local parent = tg.spawn(function()
          local x <close> = closer("parent")
          tg.spawn(function()
            local y <close> = closer("child")
            tg.spawn(sleeper("grandchild"))
            probe.park(2)
          end)
          probe.park(3)
        end)
        tg.sleep(0)
        tg.sleep(0)
        tg.sleep(0)
        parent:cancel()
        return table.concat(log, ",")]]))
      assert.equal(0, t:live())
    end)

    it("by its child ends, and so does the child", function()
      assert.equal("done: parent,child", run([[
        local parent
        parent = tg.spawn(function()
          local x <close> = closer("parent")
          tg.spawn(function()
            local y <close> = closer("child")
            parent:cancel()
            note("never")
          end):join()
        end)
        tg.sleep(0.001)
        return table.concat(log, ",")]]))
      assert.equal(0, t:live())
    end)

    it("in a <close> variable of one that is cancelled ends as well, however many there are", function()
      assert.equal("done: 20000", run([[
        local tasks, closed = {}, 0
        for i = 1, 20000 do
          tasks[i] = tg.spawn(function()
            local x <close> = setmetatable({}, { __close = function()
              closed = closed + 1
              if tasks[i + 1] then tasks[i + 1]:cancel() end
            end })
            probe.park(1)
          end)
        end
        tg.sleep(0)
        tasks[1]:cancel()
        while closed < 20000 do tg.sleep(0) end
        return closed]]))
      assert.equal(0, t:live())
    end)

    it("cannot be woken, nor wait, nor spawn, while it closes", function()
      assert.equal("done: cannot wait here: the task has ended,cannot spawn here: the task has ended",
        run([[
        local task = tg.spawn(function()
          local x <close> = setmetatable({}, { __close = function()
            probe.unpark(1)
            note((select(2, pcall(tg.sleep, 0))))
            note((select(2, pcall(tg.spawn, print))))
          end })
          probe.park(1)
        end)
        tg.sleep(0)
        task:cancel()
        return table.concat(log, ",")]]))
    end)

    it("is cancelled as a <close> variable goes", function()
      assert.equal("done: closed", run([[
        do
          local task <close> = tg.spawn(sleeper("closed"))
          tg.sleep(0)
        end
        return table.concat(log)]]))
    end)
  end)

  describe("belongs to what has spawned it", function()
    it("and ends with that (B15)", function()
      t:start("tg.spawn(sleeper('closed')) probe.park(2)")
      s:step()
      assert.equal(1, t:live())
      t:over()
      assert.equal("closed", notes())
      assert.equal(0, t:live())
      assert.same({}, s:log())
    end)

    it("though that does not wait for it", function()
      t:start("tg.spawn(sleeper('closed'))")
      s:step()
      assert.equal("done", (t:state()))
      t:free()
      assert.equal("closed", notes())
    end)

    it("and not to the task that has spawned it, when that ends by itself", function()
      run([[
        tg.spawn(function() tg.spawn(sleeper("child")) end):join()
        pcall(function() tg.spawn(function() tg.spawn(sleeper("of one that failed")) error("x") end):join() end)
        tg.sleep(0)
        note("joined")]])
      assert.equal("joined", notes())
      assert.equal(2, t:live())
      t:over()
      assert.equal("joined,of one that failed,child", notes())
    end)

    it("or to the script, outside of any", function()
      s:enter("tg.spawn(sleeper('closed'))")
      s:step()
      assert.equal("", notes())
      s:wake(1)
      assert.equal("closed", notes())
    end)

    it("or to the script, by tg.background, wherever that is", function()
      t:start("tg.background(sleeper, 'x') tg.background(function(a) probe.park(1) note(a) end, 'x')")
      s:step()
      assert.equal(0, t:live())
      t:free()
      assert.equal("", notes())
      s:wake(1)
      assert.equal("x", notes())
      t = s:task()
      t:start("tg.background(error, 'bad', 0)")
      s:loop()
      assert.matches("a task has failed: bad", s:log()[1])
    end)

    it("ends with the state, wherever it is", function()
      s:enter("tg.spawn(sleeper('waits')) other = tg.spawn(sleeper('has not begun'))")
      s:free()
    end)

    it("unless it is detached", function()
      t:start("tg.detach(tg.spawn(sleeper('first'))) tg.detach(sleeper, 'x') probe.park(2)")
      s:step()
      assert.equal(0, t:live())
      t:free()
      assert.equal("", notes())
      s:wake(1)
      s:loop()
      assert.equal("first", notes())
    end)

    it("and what a detached task has spawned ends with that", function()
      t:start([[
        tg.detach(function()
          tg.spawn(sleeper("child"))
          tg.sleep(0)
          note("detached ends")
        end)]])
      s:loop()
      assert.equal("detached ends,child", notes())
    end)

    it("and a detached one is cancelled with all that is below it", function()
      assert.equal("done: child,parent", run([[
        local task = tg.detach(function()
          local x <close> = closer("parent")
          tg.spawn(sleeper("child"))
          probe.park(2)
        end)
        tg.sleep(0) tg.sleep(0)
        task:cancel()
        return table.concat(log, ",")]]))
    end)

    it("and a detached one is cancelled by that, which ends too", function()
      assert.equal("done: parent,child", run([[
        local parent
        parent = tg.detach(function()
          local x <close> = closer("parent")
          tg.spawn(function()
            local y <close> = closer("child")
            parent:cancel()
            note("never")
          end):join()
        end)
        tg.sleep(0.001)
        return table.concat(log, ",")]]))
    end)

    it("and cannot be detached once it has begun", function()
      assert.matches("until it begins", run([[
        local task = tg.spawn(probe.park, 1)
        tg.sleep(0)
        tg.detach(task)]]))
      assert.equal("done: done", run([[
        local task = tg.spawn(function() end)
        task:join()
        return tg.detach(task):status()]]))
    end)

    it("down to a depth", function()
      assert.equal("done: 99 chunk:2: cannot spawn here: tasks are nested deeper than 100", run([[
        local function deeper(n)
          local task = tg.spawn(function()
            local ok, depth, why = pcall(deeper, n + 1)
            if ok then return depth, why end
            return n, depth
          end)
          return task:join()
        end
        return deeper(1)]]))
    end)

    it("and a chain of any length of tasks that follow each other is no depth", function()
      assert.equal("done: 500", run([[
        local n = 0
        local function follow()
          n = n + 1
          if n < 500 then tg.spawn(follow) end
        end
        tg.spawn(follow)
        while n < 500 do tg.sleep(0) end
        return n]]))
    end)
  end)

  describe("and fails", function()
    it("is logged once, with its traceback, when its exchange ends and nobody has joined it", function()
      run("kept = tg.spawn(function() error('bad') end) tg.sleep(0.001)")
      assert.same({}, s:log())
      t:over()
      assert.equal(1, #s:log())
      assert.matches("^error: a task has failed: chunk:1: bad; stack traceback:.*chunk:1", s:log()[1])
      t:free()
      s:enter("kept = nil collectgarbage() collectgarbage()")
      assert.equal(1, #s:log())
    end)

    it("is logged when it is collected", function()
      run("tg.spawn(function() error('bad', 0) end) tg.sleep(0.001)")
      s:enter("collectgarbage() collectgarbage()")
      assert.matches("a task has failed: bad", s:log()[1])
      t:over()
      assert.equal(1, #s:log())
    end)

    -- Its scope ends with the detached one; what failed in it is still held, and collected after.
    for _, how in ipairs({ "returns", "is cancelled" }) do
      it("is logged when the detached task that it was below " .. how, function()
        t:start(([[
          kept = {}
          local parent = tg.detach(function()
            for _ = 1, 3 do kept[#kept + 1] = tg.spawn(function() error("below", 0) end) end
            tg.sleep(0.001)
            if %s then probe.park(2) end
          end)
          tg.sleep(0.01)
          parent:cancel()]]):format(how == "is cancelled"))
        s:loop()
        local logged = s:log()
        assert.equal(3, #logged)
        for _, line in ipairs(logged) do assert.matches("a task has failed: below", line, 1, true) end
        assert.equal("done", s:enter("kept = nil collectgarbage() collectgarbage()"))
        assert.equal(3, #s:log())
      end)
    end

    it("is logged at once where no exchange ends", function()
      s:enter("kept = tg.spawn(function() error({ message = 'bad' }) end)")
      s:loop()
      assert.matches("a task has failed: bad", s:log()[1])
      t:start("kept = tg.detach(function() error(setmetatable({}, { __index = error })) end)")
      s:loop()
      assert.matches("a task has failed: %(no message%)", s:log()[2])
    end)

    it("is not logged when it is joined, even late, or cancelled", function()
      run([[
        local task = tg.spawn(error, "bad")
        tg.sleep(0.001)
        pcall(task.join, task)
        tg.spawn(probe.park, 1):cancel()]])
      t:over()
      s:enter("collectgarbage() collectgarbage()")
      assert.same({}, s:log())
    end)

    it("is not logged when it has but found the client gone (B13)", function()
      run("tg.spawn(function() error(tg.closed) end) tg.sleep(0.001)")
      t:over()
      s:enter("tg.spawn(function() error(tg.closed) end)")
      s:loop()
      s:enter("collectgarbage() collectgarbage()")
      assert.same({}, s:log())
    end)

    it("is logged when who was to join it was cancelled before it could", function()
      run([[
        local task = tg.spawn(function() tg.sleep(0) error("bad", 0) end)
        local joiner = tg.spawn(function() task:join() end)
        tg.sleep(0) tg.sleep(0)
        joiner:cancel()
        tg.sleep(0)]])
      t:over()
      assert.equal(1, #s:log())
    end)

    it("runs its <close> variables, and can be joined after", function()
      assert.equal("done: false bad closed", run([[
        local task = tg.spawn(function()
          local x <close> = closer("closed")
          tg.sleep(0)
          error("bad", 0)
        end)
        local ok, why = pcall(task.join, task)
        return ok, why, table.concat(log)]]))
    end)

    it("refuses what is no function", function()
      assert.matches("function expected", run("tg.spawn(1)"))
      assert.matches("function expected", run("tg.spawn()"))
      assert.matches("tidegate.Task expected", run("tg.detach(1)"))
    end)
  end)
end)

describe("several tasks at once", function()
  local s, t

  before_each(function()
    s = probe.new()
    assert(s:enter(LIBRARY) == "done")
    t = s:task()
    t:scope()
  end)
  after_each(function() s:free() end)

  local function run(text)
    t:start(text)
    s:loop()
    local how, value = t:state()
    return how .. ": " .. tostring(value)
  end

  it("in tg.all take as long as the longest, and give a result each", function()
    assert.equal("done: true a b c nil", run([[
      local start = tg.monotonic()
      local r = tg.all {
        function() tg.sleep(0.05) return "a", "dropped" end,
        function() tg.sleep(0.05) return "b" end,
        key = function() tg.sleep(0.05) return "c" end,
        none = function() end,
      }
      return tg.monotonic() - start < 0.1, r[1], r[2], r.key, r.none]]))
    assert.equal(0, t:live())
  end)

  it("in tg.all may be tasks", function()
    assert.equal("done: 1 2", run([[
      local one = tg.spawn(function() tg.sleep(0.001) return 1 end)
      local r = tg.all { one, function() return 2 end }
      return r[1], r[2] ]]))
  end)

  it("in tg.all end with the first that fails, which is raised", function()
    assert.equal("done: bad given,own", run([[
      local given = tg.spawn(sleeper("given"))
      local ok, why = pcall(tg.all, {
        given, sleeper("own"), function() tg.sleep(0.001) error("bad", 0) end,
      })
      table.sort(log)
      return why, table.concat(log, ",")]]))
    assert.equal(0, t:live())
    t:over()
    assert.same({}, s:log())
  end)

  it("in tg.all keep the traceback of the one that failed", function()
    run("tg.all { function() local function inner() error('bad') end inner() end }")
    assert.matches("in the task that was joined:.*in local 'inner'", select(3, t:state()))
  end)

  it("in tg.all end with the caller", function()
    run([[
      local task = tg.spawn(function() tg.all { sleeper("a"), sleeper("b") } end)
      tg.sleep(0) tg.sleep(0)
      task:cancel()
      table.sort(log)
      note(#log)]])
    assert.equal(0, t:live())
    assert.equal("done: a b 2", run("return table.unpack(log)"))
  end)

  it("in tg.all may be none, and are refused when they are something else", function()
    assert.equal("done: nil", run("return next(tg.all {})"))
    assert.matches("tg.all: %[x%] is a number, expected a function or a task", run("tg.all { x = 1 }"))
    assert.matches("tg.all: expected a table", run("tg.all(print)"))
    assert.equal(0, t:live())
  end)

  it("in tg.race end with the first that ends, whose result it is", function()
    assert.equal("done: fast b slow", run([[
      local result, key = tg.race {
        a = sleeper("slow"),
        b = function() tg.sleep(0.001) return "fast" end,
      }
      return result, key, table.concat(log)]]))
    assert.equal("done: false bad", run([[
      return pcall(tg.race, { sleeper("slow"), function() error("bad", 0) end })]]))
    assert.matches("nothing to wait for", run("tg.race {}"))
    assert.equal(0, t:live())
  end)

  describe("of which one has a time limit, tg.timeout", function()
    it("gives back what the function returns in time", function()
      assert.equal("done: 3 a nil", run([[
        return 3, tg.timeout(10, function(a) tg.sleep(0) return a, nil end, "a")]]))
      assert.equal(0, s:events())
    end)

    it("closes the function when it does not, and raises a timeout", function()
      assert.equal("done: false true 503 no result within 0.001 s closed", run([[
        local ok, err = pcall(tg.timeout, 0.001, sleeper("closed"))
        return ok, err.timeout, err.status, tostring(err), table.concat(log)]]))
      assert.equal(0, t:live())
      assert.equal(1, s:cancelled())
    end)

    it("raises what the function raises, with its traceback", function()
      assert.equal("failed: bad", run("tg.timeout(1, function() error('bad', 0) end)"))
      assert.matches("joined:.*in function <chunk:1>", select(3, t:state()))
    end)

    it("can be nested: the first that is up counts", function()
      assert.equal("done: inner 0.001 outer 0.02", run([[
        local function which(err) return (tostring(err):match("within (%S+) s")) end
        local _, inner = pcall(tg.timeout, 10, tg.timeout, 0.001, sleeper("x"))
        local _, outer = pcall(tg.timeout, 0.02, tg.timeout, 10, sleeper("x"))
        return "inner", which(inner), "outer", which(outer)]]))
      assert.equal(0, t:live())
    end)

    it("ends with the caller, and leaves no timer", function()
      run([[
        local task = tg.spawn(function() tg.timeout(100, sleeper("closed")) end)
        tg.sleep(0) tg.sleep(0)
        task:cancel()]])
      assert.equal(0, t:live())
      assert.equal(0, s:events())
    end)

    it("refuses a time that is none", function()
      assert.matches("seconds of zero or more", run("tg.timeout(-1, print)"))
      assert.matches("expected a function", run("tg.timeout(1)"))
      assert.equal(0, t:live())
    end)
  end)

  it("in a group are given in the order of their ends", function()
    assert.equal("done: 1 2 3 nil", run([[
      local group <close> = tg.group()
      for _, i in ipairs { 2, 3, 1 } do
        group:spawn(function() tg.sleep(i / 100) return i end)
      end
      return group:next():join(), group:next():join(), group:next():join(), group:next()]]))
  end)

  it("in a group end who waits for them with the group", function()
    assert.equal("done: nil true", run([[
      local group = tg.group()
      group:spawn(sleeper("x"))
      local waits = tg.spawn(group.next, group)
      tg.sleep(0)
      do local closed <close> = group end
      return waits:join(), log[1] == "x"]]))
  end)

  it("in a group are given to one of those who wait: the other waits on", function()
    assert.equal("done: 1 2", run([[
      local group <close> = tg.group()
      local go = tg.channel()
      for i = 1, 2 do group:spawn(function() go:get() return i end) end
      local list = {}
      for i = 1, 2 do list[i] = tg.spawn(group.next, group) end
      tg.sleep(0)
      go:put(1) go:put(1)
      return list[1]:join():join(), list[2]:join():join()]]))
  end)
end)

describe("what tasks hold", function()
  local rounds = {
    ["that end"] = "tg.spawn(function() tg.sleep(0) return {} end):join()",
    ["that fail and are joined"] = "pcall(tg.spawn(error, {}).join, tg.spawn(error, {}))",
    ["that fail and are not"] = "tg.spawn(error, 'x') tg.sleep(0)",
    ["that are cancelled"] = "local t = tg.spawn(sleeper('x')) tg.sleep(0) t:cancel()",
    ["that never begin"] = "tg.spawn(print, {}):cancel()",
    ["that end with others"] = "tg.spawn(function() tg.spawn(sleeper('x')) probe.park(2) end) tg.sleep(0) tg.sleep(0)",
    ["that are detached"] = "tg.detach(function() tg.spawn(sleeper('x')) tg.sleep(0) end) tg.sleep(0.001)",
    ["that are timed out"] = "pcall(tg.timeout, 0.0001, sleeper('x'))",
    ["that are all waited for"] = "tg.all { function() tg.sleep(0) end, function() end }",
    ["of which one fails"] = "pcall(tg.all, { sleeper('x'), error })",
  }
  for name, text in pairs(rounds) do
    it("is given back, of those " .. name .. " (B15)", function()
      local s <close> = probe.new()
      s:enter(LIBRARY .. "function note() end")
      local function round(n)
        for _ = 1, n do
          local t = s:task("silent")
          t:scope()
          t:start(text)
          s:loop()
          t:over()
          t:free()
          s:enter("collectgarbage() collectgarbage()")
        end
        return s:memory()
      end
      round(20)
      local before = round(20)
      local after = round(200)
      assert.is_true(after <= before, ("%d bytes, then %d"):format(before, after))
      assert.equal(0, s:events())
    end)
  end

  local EVERYTHING = [[
    local task = tg.spawn(function(a) tg.sleep(0) return a, 2 end, 1)
    local failing = tg.spawn(function() error({}) end)
    local sleeping = tg.detach(sleeper("x"))
    tg.all { function() tg.sleep(0) end, task }
    pcall(tg.timeout, 0.0001, sleeper("y"))
    pcall(failing.join, failing)
    sleeping:cancel()
    return "whole"]]

  -- Runs everything once, to whatever end: whether that was a good one.
  local function run(s)
    local t = s:task()
    if not t then return false end
    t:scope()
    t:start(EVERYTHING)
    s:loop()
    local how, value = t:state()
    t:over()
    t:free()
    assert.equal(0, s:events())
    return how == "done" and value == "whole"
  end

  it("is given back when any allocation fails (B69)", function()
    local failures, whole = 0, 0
    for n = 1, 5000 do
      local s <close> = probe.new()
      s:enter(LIBRARY .. "function note() end")
      probe.fail_at(n)
      local good = run(s)
      probe.fail_at(0)
      if good then whole = whole + 1 else failures, whole = failures + 1, 0 end
      if whole == 100 then break end -- Lua makes up for most that fail
    end
    assert.is_true(failures > 0, "none failed")
  end)

  it("is given back when there is too little memory (B64)", function()
    local failures, good = 0, false
    for memory = 34000, 90000, 203 do
      local s = probe.new(memory)
      if s and s:enter(LIBRARY .. "function note() end") == "done" then
        good = run(s)
        if not good then failures = failures + 1 end
      end
      if s then s:free() end
    end
    assert.is_true(good and failures > 10)
  end)
end)
