-- A Lua state: its one door, its limit of memory, and what a script must not do to its host.
local probe = require("probe_task")

describe("a Lua state", function()
  local s

  after_each(function()
    if s then s:free() end
    s = nil
  end)

  it("refuses the name of a file where C would cut it, at a NUL (B23)", function()
    local name = os.tmpname()
    finally(function() os.remove(name) end)
    s = probe.new()
    local _, why = s:enter(([[
      local name, results = %q, {}
      local cut = name .. "\0.png"
      local function add(_, ...) results[#results + 1] = table.concat({ ... }, " ") end
      add(io.open(cut))
      add(os.remove(cut))
      add(os.rename(cut, name .. "x"))
      add(os.rename(name, cut))
      add(pcall(function() io.lines(cut) end))
      add(pcall(function() io.lines("/nowhere") end))
      add(pcall(function() io.open(name, "rw") end))
      local file <close> = assert(io.open(name, "a+b"))
      error(table.concat(results, "\n") .. "\n" .. io.type(file) .. "\n", 0)
    ]]):format(name))
    local expected = {
      name .. ": Invalid argument 22", name .. ": Invalid argument 22", "Invalid argument 22", "Invalid argument 22",
      "chunk:8: cannot open file '" .. name .. "' (Invalid argument)",
      "chunk:9: cannot open file '/nowhere' (No such file or directory)",
      "chunk:10: bad argument #2 to 'open' (invalid mode)", "file", "",
    }
    assert.equal(table.concat(expected, "\n"), why:sub(1, #table.concat(expected, "\n")))
  end)

  describe("entered", function()
    before_each(function() s = probe.new() end)

    it("gives the error with a traceback", function()
      local result, why = s:enter("local function f() error('bad') end f()")
      assert.equal("failed", result)
      assert.matches("^chunk:1: bad\nstack traceback:\n.*in local 'f'", why)
    end)

    it("gives an error that is no text by tostring", function()
      local _, why = s:enter(
        [[error(setmetatable({}, { __tostring = function() return "mine" end }))]])
      assert.matches("^mine", why)
    end)

    it("survives a tostring that fails", function()
      local result = s:enter(
        [[error(setmetatable({}, { __tostring = function() error("again") end }))]])
      assert.equal("failed", result)
      assert.equal("done", (s:enter("return")))
    end)

    it("survives a stack overflow", function()
      local result, why = s:enter("local function f() return 1 + f() end f()")
      assert.equal("failed", result)
      assert.matches("stack overflow", why)
      assert.equal("done", (s:enter("return")))
    end)
  end)

  describe("with a limit of memory", function()
    local LIMIT = 2 << 20
    local t

    before_each(function()
      s = probe.new(LIMIT)
      t = s:task()
    end)

    it("says that there is not enough, and is fine the next time (B64)", function()
      for _ = 1, 3 do
        assert.equal("nomem", t:start("local t = {} for i = 1, math.huge do t[i] = { i } end"))
        assert.equal("not enough memory", (select(2, t:state())))
        assert.equal("done", t:start("local t = {} for i = 1, 1000 do t[i] = { i } end return #t"))
        assert.equal("1000", (select(2, t:state())))
      end
    end)

    it("does so for one large string, for the door, and after a wait (B64)", function()
      assert.equal("nomem", t:start("return ('x'):rep(1 << 26)"))
      assert.matches("'string.rep'", (select(3, t:state())))
      assert.equal("nomem", (s:enter("local x = ('x'):rep(1 << 26)")))
      t:start("tg.sleep(0) return ('x'):rep(1 << 26)")
      s:loop()
      assert.equal("nomem", (t:state()))
      assert.equal("done", t:start("return 1"))
    end)

    it("lets the script catch it (B64)", function()
      t:start("return pcall(string.rep, 'x', 1 << 26)")
      assert.equal("false not enough memory", (select(2, t:state())))
    end)

    it("does not fail the others that wait (B64)", function()
      local other = s:task()
      other:start("probe.park(1) return 'on'")
      assert.equal("nomem", t:start("local t = {} for i = 1, math.huge do t[i] = { i } end"))
      s:wake(1)
      assert.equal("on", (select(2, other:state())))
    end)

    it("never goes past it", function()
      t:start("local t = {} for i = 1, math.huge do t[i] = { i } end")
      assert.is_true(s:memory() <= LIMIT)
    end)
  end)

  -- What it counts is what Lua itself does.
  local COUNTS = "assert(collectgarbage('count') * 1024 == probe.used())"

  it("counts exactly what is used", function()
    s = probe.new()
    assert.equal("done", (s:enter(COUNTS)))
    s:enter("x = ('x'):rep(1000000)")
    assert.is_true(s:memory() > 1000000)
    assert.equal("done", (s:enter("x = nil collectgarbage() " .. COUNTS)))
    assert.is_true(s:memory() < 1000000)
  end)

  it("counts exactly whatever allocation fails", function()
    s = probe.new()
    for n = 1, 100 do
      probe.fail_at(n)
      s:enter([[
        local t, b = {}, {}
        for i = 1, 200 do t[i] = i end
        for i = 1, 50 do b[i] = ("x"):rep(i * 10) end
        table.concat(b)
        t = nil
        collectgarbage()]])
      probe.fail_at(0)
      assert.equal("done", (s:enter(COUNTS)))
    end
  end)

  it("is made whole or not at all, however little memory there is (B69)", function()
    assert.is_nil(probe.new(0, 1))
    assert.is_nil(probe.new(0, 2))
    local limit = 0
    repeat
      limit = limit + 97
      s = probe.new(limit)
    until s
    assert.is_true(limit > 20000)
  end)

  describe("with next to no memory left", function()
    local texts = {
      ["returns"] = "return 1",
      ["fails"] = "error({})",
      ["fails after a wait"] = "tg.sleep(0) error('x')",
      ["iterates"] = [[
        for v in coroutine.wrap(function() tg.sleep(0) coroutine.yield(1) end) do end]],
      ["is cancelled"] = [[
        local x <close> = setmetatable({}, { __close = function() error("y") end })
        probe.park(1)]],
      ["has a handler"] = [[
        xpcall(function() tg.sleep(0) error("z") end, function(e) return e .. "!" end)]],
    }
    for name, text in pairs(texts) do
      it("lets a task that " .. name .. " come to some end (B69)", function()
        local seen = {}
        s = probe.new()
        local base = s:memory()
        s:free()
        for margin = 100, 12000, 100 do
          s = probe.new(base + margin)
          local t = s and s:task()
          if t then
            t:start(text)
            s:loop()
            t:cancel()
            seen[(t:state())] = true
            assert.is_true(s:memory() <= base + margin)
          end
          if s then s:free() end
        end
        s = nil
        assert.is_true(seen.nomem)
        assert.is_true(seen.done or seen.failed or seen.waiting)
      end)
    end

    it("fails a sleep whose timer there is no memory for (B69)", function()
      local seen = {}
      s = probe.new()
      for n = 1, 100 do
        local t = s:task()
        probe.fail_at(n)
        t:start("tg.sleep(100)")
        probe.fail_at(0)
        seen[t:waiting() and "waiting" or select(2, t:state())] = true
        t:free()
        assert.equal(0, s:events())
      end
      assert.is_true(seen["chunk:1: not enough memory"])
      assert.is_true(seen.waiting)
    end)

    it("fails a wait that there is no memory for, and disarms it (B69)", function()
      local seen = {}
      s = probe.new()
      for n = 1, 200 do
        local t = s:task()
        probe.fail_at(n)
        t:start("coroutine.wrap(function() probe.park(1) end)()")
        probe.fail_at(0)
        seen[t:waiting() and "waiting" or select(2, t:state())] = true
        t:free()
      end
      assert.is_true(seen["chunk:1: chunk:1: not enough memory"])
      assert.is_true(seen.waiting)
    end)
  end)

  describe("keeps its host from harm:", function()
    before_each(function() s = probe.new() end)

    local function refused(text)
      local result, why = s:enter(text)
      assert.equal("failed", result)
      return why:match("^[^\n]*")
    end

    it("__gc is refused, as is what debug offers for it", function()
      local why = "chunk:1: __gc is not available: use <close> variables"
      assert.equal(why, refused("setmetatable({}, { __gc = function() end })"))
      assert.equal(why, refused("setmetatable({}, { __gc = true })"))
      assert.equal(why, refused("debug.setmetatable({}, { __gc = function() end })"))
    end)

    it("files are collected all the same", function()
      assert.equal("done", (s:enter([[
        local path = os.tmpname()
        assert(io.open(path, "w")):write("buffered until it is closed")
        collectgarbage() collectgarbage()
        local file <close> = assert(io.open(path))
        os.remove(path)
        assert(file:read("a") == "buffered until it is closed")]])))
    end)

    it("metatables are set as Lua sets them", function()
      assert.equal("done", (s:enter([[
        local t, m = {}, {}
        assert(setmetatable(t, m) == t and getmetatable(t) == m)
        assert(setmetatable(t, nil) == t and getmetatable(t) == nil)
        setmetatable(t, { __metatable = "locked" })
        local function why(...) return select(2, pcall(setmetatable, ...)) end
        assert(why(t, {}) == "cannot change a protected metatable")
        assert(why(1, {}) == "bad argument #1 to 'setmetatable' (table expected, got number)")
        assert(why({}) == "bad argument #2 to 'setmetatable' (nil or table expected)" or why({}))
        assert(why({}, 1):find("nil or table expected", 1, true))
        assert(debug.setmetatable(10, { __index = math }) == 10 and (10).type)
        debug.setmetatable(10, nil)]])))
    end)

    it("os.exit raises", function()
      assert.equal("chunk:1: os.exit is not available", refused("os.exit(3, true)"))
    end)

    it("warnings go to the log, whole, unless they are turned off", function()
      s:enter([[
        warn("one", " ", "piece")
        warn("@off") warn("unheard") warn("@on")
        warn("@other") warn("@", "x")]])
      assert.same({ "warn: lua: one piece", "warn: lua: @x" }, s:log())
    end)

    it("a warning of any length is cut", function()
      s:enter("warn(('x'):rep(5000), ('y'):rep(5000)) warn('next')")
      assert.equal("warn: lua: " .. ("x"):rep(1023), s:log()[1])
      assert.equal("warn: lua: next", s:log()[2])
    end)
  end)

  it("has the modules that travel inside the library", function()
    s = probe.new()
    assert.equal("done", (s:enter([[
      local source = package.preload["tidegate.path"]
      assert(type(source) == "function")
      local path = require("tidegate.path")
      assert(path.join("/api/", "/x") == "/api/x" and require("tidegate.path") == path)]])))
  end)
end)
