-- Channels: who gets what, in which order, and what becomes of those who wait.
local probe = require("probe_task")

local LIBRARY = [[
  package.loaded["tidegate.core"] = tg
  for name, fn in pairs(require("tidegate.tasks")) do tg[name] = fn end
  log = {}
  function note(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    log[#log + 1] = table.concat(parts, " ")
  end
  function getter(ch, name)
    return tg.spawn(function() note(name, pcall(ch.get, ch)) end)
  end
  function putter(ch, value)
    return tg.spawn(function() note("put " .. tostring(value), pcall(ch.put, ch, value)) end)
  end
  function turns(n)
    for _ = 1, n or 3 do tg.sleep(0) end
  end
]]

describe("a channel", function()
  local s, t

  before_each(function()
    s = probe.new()
    assert(s:enter(LIBRARY) == "done")
    t = s:task()
    t:scope()
  end)
  after_each(function() s:free() end)

  local function run(text, task)
    task = task or t
    task:start(text)
    s:loop()
    local how, value = task:state()
    return how .. ": " .. tostring(value)
  end

  local function notes()
    assert(s:enter("asked = table.concat(log, ',') log = {}") == "done")
    local asked = s:task()
    asked:start("return asked")
    local _, value = asked:state()
    asked:free()
    return value
  end

  describe("with room", function()
    it("holds as many values as that, first in first out", function()
      assert.equal("done: 3 1 2 3 0", run([[
        local ch = tg.channel(3)
        ch:put(1) ch:put(2) ch:put(3)
        return #ch, ch:get(), ch:get(), ch:get(), #ch]]))
    end)

    it("takes any value but nil", function()
      assert.equal("done: true false", run([[
        local ch = tg.channel(2)
        local t = {}
        ch:put(t) ch:put(false)
        return ch:get() == t, ch:get()]]))
      assert.matches("nil cannot be put into a channel", run("tg.channel(1):put(nil)"))
      assert.matches("nil cannot be put into a channel", run("tg.channel(1):put()"))
      assert.matches("nil cannot be put into a channel", run("tg.channel(1):try_put(nil)"))
    end)

    it("lets who puts wait while it is full, and go on when there is room", function()
      assert.equal("done: 1 2 3 nil", run([[
        local ch = tg.channel(1)
        tg.spawn(function() for i = 1, 3 do ch:put(i) note("put", i) end ch:close() end)
        turns()
        note("getting")
        return ch:get(), ch:get(), ch:get(), ch:get()]]))
      assert.equal("put 1,getting,put 2,put 3", notes())
    end)

    it("lets who gets wait while it is empty", function()
      run([[
        local ch = tg.channel(1)
        getter(ch, "a")
        turns()
        note("putting")
        ch:put("x")
        turns()]])
      assert.equal("putting,a true x", notes())
    end)

    it("refuses a room that is none", function()
      assert.matches("capacity of zero or more", run("tg.channel(-1)"))
      assert.matches("number expected", run("tg.channel('x')"))
      assert.matches("Channel expected", run("tg.channel().get({})"))
    end)

    it("grows no table by what passes through it", function()
      run([[
        local ch = tg.channel(4)
        local function pass(n) for i = 1, n do ch:put(i) ch:put(i) ch:get() ch:get() end end
        pass(100)
        collectgarbage()
        local before = probe.used()
        pass(10000)
        collectgarbage()
        note(probe.used() <= before)]])
      assert.equal("true", notes())
    end)
  end)

  describe("without room", function()
    it("passes from hand to hand: put waits for get", function()
      assert.equal("done: 1 2", run([[
        local ch = tg.channel()
        tg.spawn(function() ch:put(1) note("taken") ch:put(2) end)
        turns()
        note("getting")
        local first = ch:get()
        turns()
        return first, ch:get()]]))
      assert.equal("getting,taken", notes())
    end)

    it("and get for put", function()
      run([[
        local ch = tg.channel(0)
        getter(ch, "a")
        turns()
        ch:put("x")
        note("put")
        turns()]])
      assert.equal("put,a true x", notes())
    end)
  end)

  describe("serves those who wait", function()
    it("in the order in which they came, to get", function()
      run([[
        local ch = tg.channel(0)
        for i = 1, 4 do getter(ch, i) end
        turns()
        for i = 1, 4 do ch:put("v" .. i) end
        turns()]])
      assert.equal("1 true v1,2 true v2,3 true v3,4 true v4", notes())
    end)

    it("in the order in which they came, to put", function()
      assert.equal("done: 1 2 3 4", run([[
        local ch = tg.channel(1)
        for i = 1, 4 do putter(ch, i) end
        turns()
        return ch:get(), ch:get(), ch:get(), ch:get()]]))
    end)

    it("before those who come later", function()
      run([[
        local ch = tg.channel(1)
        getter(ch, "first")
        turns()
        ch:put(1)
        note("late", ch:try_get())
        ch:put(2)
        turns()]])
      assert.equal("late nil empty,first true 1", notes())
    end)

    it("and forgets those who are cancelled", function()
      run([[
        local ch = tg.channel(0)
        local a, b = getter(ch, "a"), getter(ch, "b")
        turns()
        a:cancel()
        ch:put(1)
        turns()
        local c, d = putter(ch, "c"), putter(ch, "d")
        turns()
        c:cancel()
        note(ch:get())
        note(ch:try_get())]])
      assert.equal("b true 1,d,nil empty,put d true", notes())
    end)

    it("and gives what one was given who is cancelled before it goes on to the next", function()
      run([[
        local ch = tg.channel(0)
        local a = getter(ch, "a")
        getter(ch, "b")
        turns()
        ch:put(1)
        a:cancel()
        turns()
        local c = getter(ch, "c")
        turns()
        ch:put(2)
        c:cancel()
        note(#ch, ch:get())]])
      assert.equal("b true 1,1 2", notes())
    end)

    it("when they wait below coroutines of their own (B14)", function()
      run([[
        local ch = tg.channel(0)
        tg.spawn(function()
          for v in coroutine.wrap(function()
            for v in ch:items() do coroutine.yield(v) end
          end) do note(v) end
          note("end")
        end)
        for i = 1, 3 do ch:put(i) end
        ch:close()
        turns()]])
      assert.equal("1,2,3,end", notes())
    end)

    it("of other exchanges too", function()
      local other = s:task()
      other:scope()
      other:start("shared = tg.channel(0, { shared = true }) note('got', shared:get())")
      run("shared:put('x')")
      assert.equal("got x", notes())
    end)
  end)

  describe("that is tried", function()
    it("says why it could not", function()
      assert.equal("done: true false full 1 nil empty", run([[
        local ch = tg.channel(1)
        local done = ch:try_put(1)
        local again, why = ch:try_put(2)
        local value = ch:try_get()
        return done, again, why, value, ch:try_get()]]))
      assert.equal("done: nil closed", run("local ch = tg.channel(1) ch:close() return ch:try_get()"))
      assert.matches("the channel is closed", run("local ch = tg.channel(1) ch:close() ch:try_put(1)"))
    end)

    it("serves who waits", function()
      run([[
        local ch = tg.channel(0)
        getter(ch, "a")
        turns()
        note(ch:try_put("x"))
        putter(ch, "y")
        turns()
        note(ch:try_get())
        turns()]])
      assert.equal("true,a true x,y,put y true", notes())
    end)

    it("may be where nothing can wait", function()
      assert.equal("done", (s:enter("local ch = tg.channel(1) ch:put(1) ch:try_put(2) ch:get() ch:try_get() ch:close()")))
      assert.matches("cannot wait here", select(2, s:enter("tg.channel():get()")))
      assert.matches("cannot wait here", select(2, s:enter("tg.channel():put(1)")))
    end)
  end)

  describe("that is closed", function()
    it("still gives what is in it, and then nil", function()
      assert.equal("done: 1 2 nil nil", run([[
        local ch = tg.channel(2)
        ch:put(1) ch:put(2)
        ch:close() ch:close()
        return ch:get(), ch:get(), ch:get(), ch:get()]]))
    end)

    it("ends those who wait: get gives nil, put raises", function()
      run([[
        local ch = tg.channel(0)
        getter(ch, "a")
        turns()
        ch:close()
        turns()
        local full = tg.channel(0)
        putter(full, 1)
        turns()
        full:close()
        turns()]])
      assert.matches("^a true nil,put 1 false .*the channel is closed$", notes())
    end)

    it("refuses what is put", function()
      assert.matches("the channel is closed", run("local ch = tg.channel(1) ch:close() ch:put(1)"))
    end)

    it("ends a loop over it, by its items or by itself", function()
      assert.equal("done: 6 6", run([[
        local function filled() local ch = tg.channel(3) for i = 1, 3 do ch:put(i) end ch:close() return ch end
        local a, b = 0, 0
        for v in filled():items() do a = a + v end
        for v in filled() do b = b + v end
        return a, b]]))
    end)

    it("as a <close> variable goes", function()
      assert.equal("done: nil closed", run([[
        local kept
        do local ch <close> = tg.channel(1) kept = ch end
        return kept:try_get()]]))
    end)
  end)

  describe("that nobody is left to put to", function()
    local LOST = "no task is left that could put to the channel"

    it("ends the wait of who gets with an error: the producer has failed (B26)", function()
      assert.equal("done: 1 false " .. LOST .. " true", run([[
        local ch = tg.channel(1)
        tg.spawn(function() ch:put(1) error("dies", 0) end)
        local first = ch:get()
        local ok, err = pcall(ch.get, ch)
        return first, ok, tostring(err), err.orphaned]]))
    end)

    it("or has failed before it put anything, or was cancelled, or has forgotten to close (B26)", function()
      for _, producer in ipairs({
        "tg.spawn(function() tg.sleep(0.001) error('dies') ch:put(1) end)",
        "local p = tg.spawn(function() tg.sleep(10) ch:put(1) end) tg.spawn(function() turns() p:cancel() end)",
        "tg.spawn(function(c) c:close(c ~= nil) end, tg.channel()) tg.spawn(function(c) turns() end, ch)",
        "tg.spawn(function() tg.spawn(function() ch:put('never taken') end) tg.sleep(0.001) error('x') end) ch:get()",
      }) do
        assert.equal("done: false " .. LOST,
          run("local ch = tg.channel(0) " .. producer .. " return pcall(ch.get, ch)"), producer)
      end
    end)

    it("but gives what is in it first", function()
      assert.equal("done: 1 2 false", run([[
        local ch = tg.channel(2)
        tg.spawn(function() ch:put(1) ch:put(2) end):join()
        return ch:get(), ch:get(), (pcall(ch.get, ch))]]))
    end)

    it("and not while one of several is left", function()
      assert.equal("done: 1 2 3", run([[
        local ch = tg.channel(0)
        for i = 1, 3 do tg.spawn(function() tg.sleep(i / 1000) ch:put(i) end) end
        return ch:get(), ch:get(), ch:get()]]))
    end)

    it("nor while one waits for something else", function()
      t:start([[
        local ch = tg.channel(0)
        tg.spawn(function() ch:put(1) end)
        tg.spawn(function() probe.park(1) ch:put(2) end)
        note(ch:get()) note(ch:get())]])
      for _ = 1, 5 do s:step() end
      s:wake(1)
      s:loop()
      assert.equal("1,2", notes())
    end)

    it("ends all that wait for it, and those who join them fail", function()
      assert.equal("done: false true " .. LOST, run([[
        local ch = tg.channel(0)
        local consumers = {}
        for i = 1, 2 do consumers[i] = tg.spawn(function() return ch:get() end) end
        local ok, err = pcall(function() return consumers[1]:join() end)
        local other = pcall(consumers[2].join, consumers[2])
        return ok, not other, tostring(err)]]))
    end)

    it("in tg.all", function()
      assert.equal("done: false " .. LOST, run([[
        local ch = tg.channel(0)
        return pcall(tg.all, {
          function() for i = 1, 3 do ch:put(i) end end,
          function() for _ in ch:items() do end end,
        })]]))
    end)

    it("as who puts is told when nobody is left to get", function()
      assert.equal("done: false no task is left that could get from the channel", run([[
        local ch = tg.channel(0)
        tg.spawn(function() ch:get() end)
        return pcall(function() ch:put(1) ch:put(2) end)]]))
    end)

    it("waits where another exchange may put: one that is shared, or that another has used", function()
      local a, b = s:task(), s:task()
      a:scope()
      b:scope()
      a:start([[
        ch = tg.channel(0, { shared = true })
        tg.spawn(function() ch:put(1) end)
        ch:get()
        note("a", ch:get())]])
      b:start([[
        mine = tg.channel(0)
        tg.spawn(function() mine:put(1) end)
        mine:get()
        note("b", mine:get())]])
      t:start("mine:try_get()")
      for _ = 1, 5 do s:step() end
      assert.equal("", notes())
      t:start("ch:put('for a') mine:put('for b')")
      s:loop()
      assert.equal("a for a,b for b", notes())
    end)

    it("waits where another has used it meanwhile", function()
      t:start([[
        room = tg.channel(0)
        tg.spawn(function() room:put("mine") probe.park(1) end)
        note(room:get())
        note(room:get())]])
      for _ = 1, 3 do s:step() end
      local other = s:task()
      other:scope()
      other:start("room:try_get()")
      s:wake(1)
      for _ = 1, 3 do s:step() end
      assert.is_true(t:waiting())
      other:start("room:put('theirs')")
      s:loop()
      assert.equal("mine,theirs", notes())
    end)

    it("waits where no task was ever seen that puts: another exchange may be about to", function()
      t:start([[
        room = tg.channel(0)
        tg.spawn(function() end)
        note(room:get())]])
      for _ = 1, 5 do s:step() end
      assert.is_true(t:waiting())
      local other = s:task()
      other:scope()
      other:start("room:put('hello')")
      s:loop()
      assert.equal("hello", notes())
    end)

    it("does not end a wait that time will end", function()
      assert.equal("done: nil timeout", run([[
        local ch = tg.channel(0)
        tg.spawn(function() ch:put(1) end)
        ch:get()
        return tg.select { ch, timeout = 0.001 }]]))
    end)

    it("is known by its producers, where they were named (B26)", function()
      s:enter([[
        feed = tg.channel(0)
        ticker = feed:producer(tg.spawn(function() feed:put("tick") probe.park(1) error("dies", 0) end))]])
      t:start("note(feed:get()) note(pcall(feed.get, feed)) note(pcall(feed.get, feed))")
      s:loop()
      assert.equal("tick", notes())
      s:wake(1)
      s:loop()
      assert.equal(("false %s,false %s"):format(LOST, LOST), notes())
      assert.equal("done: y", run([[
        feed:producer(tg.spawn(function() feed:put("y") end))
        return feed:get()]]))
    end)

    it("and by all of them", function()
      assert.equal("done: 1 2 false", run([[
        local ch = tg.channel(0, { shared = true })
        for i = 1, 2 do ch:producer(tg.spawn(function() tg.sleep(i / 1000) ch:put(i) end)) end
        return ch:get(), ch:get(), (pcall(ch.get, ch))]]))
      assert.matches("Task expected", run("tg.channel():producer(1)"))
      assert.equal("done: false", run([[
        local task = tg.spawn(function() end)
        task:join()
        local ch = tg.channel(0, { shared = true })
        ch:producer(task)
        return (pcall(ch.get, ch))]]))
    end)
  end)

  describe("of several, tg.select", function()
    it("takes what is there", function()
      assert.equal("done: 2 x", run([[
        local a, b = tg.channel(1), tg.channel(1)
        b:put("x")
        return tg.select { a, b }]]))
    end)

    it("waits for the first that comes, and leaves the others", function()
      run([[
        local a, b = tg.channel(0), tg.channel(0)
        tg.spawn(function() note(tg.select { a, b }) end)
        turns()
        note(a:try_put("x"))
        note(b:try_put("y"))
        note(a:try_put("z"))
        turns()]])
      assert.equal("true,false full,false full,1 x", notes())
    end)

    it("puts, too", function()
      run([[
        local a, b = tg.channel(0), tg.channel(0)
        tg.spawn(function() note(tg.select { a, { b, "value" } }) end)
        turns()
        note(b:get())
        turns()
        note(tg.select { { tg.channel(1), 1 } })]])
      assert.equal("value,2 true,1 true", notes())
    end)

    it("gives nil of one that is closed, and raises for a put to it", function()
      assert.equal("done: 1 nil", run("local ch = tg.channel() ch:close() return tg.select { ch }"))
      assert.matches("the channel is closed", run("local ch = tg.channel() ch:close() tg.select { { ch, 1 } }"))
      run([[
        local ch = tg.channel()
        tg.spawn(function() note(tg.select { ch }) end)
        tg.spawn(function() note((pcall(tg.select, { { ch, 1 } }))) end):cancel()
        turns()
        ch:close()
        turns()]])
      assert.equal("1 nil", notes())
    end)

    it("waits no longer than its timeout", function()
      assert.equal("done: nil timeout nil timeout", run([[
        local ch = tg.channel()
        local a, b = tg.select { ch, timeout = 0 }
        return a, b, tg.select { ch, timeout = 0.001 }]]))
      assert.equal("done: 1 x", run([[
        local ch = tg.channel()
        tg.spawn(function() ch:put("x") end)
        return tg.select { ch, timeout = 10 }]]))
      assert.equal(0, s:events())
    end)

    it("prefers none of those that are ready", function()
      assert.equal("done: true true", run([[
        local a, b = tg.channel(100), tg.channel(100)
        for i = 1, 100 do a:put(i) b:put(i) end
        local count = { 0, 0 }
        for _ = 1, 100 do local n = tg.select { a, b } count[n] = count[n] + 1 end
        return count[1] > 20, count[2] > 20]]))
    end)

    it("goes by its list as it was, whatever becomes of that meanwhile", function()
      assert.equal("done: 1 got nil timeout", run([[
        local a, b = tg.channel(), tg.channel()
        local list = { a, b }
        tg.spawn(function() list[2] = nil a:put("got") end)
        local which, value = tg.select(list)
        list = { b, timeout = 0.001 }
        tg.spawn(function() for i = 1, 50 do list[i] = a end end)
        return which, value, tg.select(list)]]))
    end)

    it("leaves no trace when it is cancelled", function()
      run([[
        local a, b = tg.channel(0), tg.channel(0)
        local task = tg.spawn(function() tg.select { a, b, { b, 1 } } end)
        turns()
        a:put("kept")
        task:cancel()
        turns()
        note(a:try_get())
        note(b:try_get())
        note(b:try_put(1))]])
      assert.equal("kept,nil empty,false full", notes())
    end)

    it("refuses what is no list of channels", function()
      assert.matches("expected 1 to 100 channels", run("tg.select {}"))
      assert.matches("%[2%] is a number, expected a channel", run("tg.select { tg.channel(), 1 }"))
      assert.matches("%[1%] has no value to put", run("tg.select { { tg.channel() } }"))
      assert.matches("table expected", run("tg.select(1)"))
      assert.matches("seconds of zero or more", run("tg.select { tg.channel(), timeout = -1 }"))
    end)
  end)

  it("leaves no memory behind, however its tasks end (B15)", function()
    local function round(n)
      for _ = 1, n do
        local each = s:task("silent")
        each:scope()
        each:start([[
          local ch, other = tg.channel(1), tg.channel(0)
          tg.spawn(function() for i = 1, 3 do ch:put(i) end end)
          local waits = tg.spawn(function() tg.select { other, { other, {} } } end)
          tg.spawn(function() other:get() end)
          ch:producer(tg.spawn(function() probe.park(1) end))
          for _ = 1, 3 do ch:get() end
          waits:cancel()
          tg.select { other, timeout = 0.0001 }]])
        s:loop()
        each:over()
        each:free()
        s:enter("collectgarbage() collectgarbage()")
      end
      return s:memory()
    end
    round(30)
    local before = round(30)
    local after = round(150)
    -- what a table's hash happens to hold differs by some bytes; an object left by each would be 2,400
    assert.is_true(after - before < 1200, ("%d bytes, then %d"):format(before, after))
    assert.equal(0, s:events())
  end)
end)
