-- A random walk over tasks and channels, against a model: whatever is done to them, and in whatever order,
-- no value is lost or doubled, and nothing stays behind.
local probe = require("probe_task")

-- The walk of one seed.  The model: of each value whether it was put for certain, and how often it was
-- got; of each task whether it was begun and closed.
local WALK = [[
  package.loaded["tidegate.core"] = tg
  for name, fn in pairs(require("tidegate.tasks")) do tg[name] = fn end
  local random = math.random

  function walk(seed, steps)
    math.randomseed(seed)
    local channels, tasks, values, next_value = {}, {}, {}, 0
    local begun, closed, given_back = 0, 0, 0
    for i = 1, 4 do channels[i] = { ch = tg.channel(i - 1), closed = false } end

    local function any(list) return list[random(#list)] end

    local function fresh()
      next_value = next_value + 1
      values[next_value] = { got = 0, put = false }
      return next_value
    end
    local function got(value)
      if value ~= nil then values[value].got = values[value].got + 1 end
    end

    local actions
    local function act(depth) any(actions)(depth or 0) end

    actions = {
      function(depth) -- a task of some acts, perhaps inside a coroutine
        if depth > 3 then return end
        local body = function()
          begun = begun + 1
          local x <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
          for _ = 1, random(4) do act(depth + 1) end
        end
        tasks[#tasks + 1] = tg.spawn(random(2) == 1 and body or function() coroutine.wrap(body)() end)
      end,
      function() local c = any(channels) local v = fresh() c.ch:put(v) values[v].put = true end,
      function() local c = any(channels) local v = fresh() values[v].put = c.ch:try_put(v) end,
      function() got(any(channels).ch:get()) end,
      function() got((any(channels).ch:try_get())) end,
      function()
        local a, b, v = any(channels), any(channels), fresh()
        local n, value = tg.select { a.ch, { b.ch, v }, timeout = random(2) == 1 and 0.0002 or nil }
        if n == 1 then got(value) elseif n == 2 then values[v].put = true end
      end,
      function() if random(20) == 1 then any(channels).ch:close() end end,
      function() if #tasks > 0 then any(tasks):cancel() end end,
      function() if #tasks > 0 and random(3) == 1 then any(tasks):join() end end,
      function() tg.sleep(0) end,
      function() tg.sleep(random() / 5000) end,
      function(depth) tg.timeout(random() / 2000, act, depth + 1) end,
      function(depth) tg.all { function() act(depth + 1) end, function() act(depth + 1) end } end,
      function(depth) tg.race { function() act(depth + 1) end, function() tg.sleep(0) end } end,
      function() if random(10) == 1 then error("an error of the walk", 0) end end,
      function() if random(5) == 1 then collectgarbage() end end,
    }

    local drivers = {}
    for i = 1, 5 do
      drivers[i] = tg.spawn(function()
        for _ = 1, steps do pcall(act, 0) end
      end)
    end
    pcall(tg.timeout, 0.02, tg.all, drivers)
    for _, driver in ipairs(drivers) do driver:cancel() end
    for _, task in ipairs(tasks) do task:cancel() end
    tg.sleep(0) tg.sleep(0)

    for i, task in ipairs(tasks) do
      assert(task:status() ~= "waiting" and task:status() ~= "running", "task " .. i .. " is " .. task:status())
    end
    assert(begun == closed, ("%d began, %d were closed"):format(begun, closed))
    for _, c in ipairs(channels) do
      c.ch:close()
      for value in c.ch:items() do got(value) end
    end
    for value, v in ipairs(values) do
      assert(v.got <= 1, ("value %d was got %d times"):format(value, v.got))
      assert(not v.put or v.got == 1, ("value %d was put and lost"):format(value))
    end
    return #values, #tasks
  end
]]

describe("a random walk over tasks and channels", function()
  local SEEDS = os.getenv("ASAN_OPTIONS") and 60 or 200

  it("loses no value, closes what has begun, and leaves nothing behind (B15, B26)", function()
    local values = 0
    for seed = 1, SEEDS do
      local s <close> = probe.new()
      assert(s:enter(WALK) == "done")
      local t = s:task()
      t:scope()
      t:start("return walk(" .. seed .. ", 40)")
      s:loop()
      local how, value = t:state()
      assert(how == "done", ("seed %d: %s"):format(seed, value))
      values = values + tonumber(value:match("^%d+"))
      t:over()
      assert.equal(0, t:live(), "seed " .. seed)
      assert.equal(0, s:events(), "seed " .. seed)
    end
    assert.is_true(values > SEEDS * 20)
  end)

  it("ends whenever its exchange does (B13, B15)", function()
    for seed = 1, SEEDS do
      local s <close> = probe.new()
      assert(s:enter(WALK) == "done")
      local t = s:task()
      t:scope()
      t:start("return walk(" .. seed .. ", 1000)")
      for _ = 1, seed % 17 do s:step() end
      t:over()
      assert.equal(0, t:live(), "seed " .. seed)
      t:free()
      s:loop()
      assert.equal(0, s:events(), "seed " .. seed)
    end
  end)

  it("leaves no memory behind (B15)", function()
    local s <close> = probe.new()
    assert(s:enter(WALK) == "done")
    local function round(from, to)
      for seed = from, to do
        local t = s:task("silent")
        t:scope()
        t:start("return walk(" .. seed .. ", 20)")
        s:loop()
        t:over()
        t:free()
        s:enter("collectgarbage() collectgarbage()")
      end
      return s:memory()
    end
    round(1, 40)
    local before = round(1, 40)
    assert.is_true(round(1, 40) - before < 2048)
  end)
end)
