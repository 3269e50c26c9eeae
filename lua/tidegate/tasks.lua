--- tasks: several tasks at once, and a task with a time limit. Each runs its work in tasks of a
--- group, which are cancelled when the caller leaves it, however it does.

local core = require("tidegate.core")

local tasks = {}

local timeout_meta = {
  __name = "tidegate.Error",
  __tostring = function(err)
    return err.message
  end,
}

local function is_task(value)
  local meta = type(value) == "userdata" and getmetatable(value)
  return meta and meta.__name == "tidegate.Task"
end

--- Starts all of work in the group.
---@return table<tidegate.Task, any> keys of work
---@return tidegate.Task[] given the tasks that were in it
local function start(name, group, work)
  local keys, given = {}, {}
  if type(work) ~= "table" then
    error(("%s: expected a table of functions and tasks, got a %s"):format(name, type(work)), 3)
  end
  for key, item in pairs(work) do
    if is_task(item) then
      given[#given + 1] = item
    elseif type(item) ~= "function" then
      local what = ("%s: [%s] is a %s, expected a function or a task"):format(name, key, type(item))
      error(what, 3)
    end
  end
  for key, item in pairs(work) do
    if type(item) == "function" then
      keys[group:spawn(item)] = key
    else
      keys[group:spawn(item.join, item)] = key
    end
  end
  return keys, given
end

local function cancel(list)
  for _, task in ipairs(list) do
    task:cancel()
  end
end

--- Runs all functions, and waits for all tasks, of a table at the same time.
---@async
---@generic K
---@param work table<K, function|tidegate.Task>
---@return table<K, any> results the first value of each. The first failure cancels the others, and
--- is raised
function tasks.all(work)
  local group <close> = core.group()
  local keys, given = start("tg.all", group, work)
  local results = {}
  local _ <close> = setmetatable({}, {
    __close = function(_, err)
      if err ~= nil then
        cancel(given)
      end
    end,
  })
  local task = group:next()
  while task do
    results[keys[task]] = task:join()
    task = group:next()
  end
  return results
end

--- As tg.all, until the first has ended: the others are cancelled.
---@async
---@generic K
---@param work table<K, function|tidegate.Task> not empty
---@return any result its first value; or its error is raised
---@return K key
function tasks.race(work)
  local group <close> = core.group()
  local keys, given = start("tg.race", group, work)
  local task = group:next()
  if not task then
    error("tg.race: there is nothing to wait for", 2)
  end
  cancel(given)
  return (task:join()), keys[task]
end

--- Calls fn(...) and returns its results, if it has them in time. Else it is cancelled, and an
--- error is raised: { timeout = true, status = 503, message }.
---@async
---@param seconds number
---@param fn fun(...): ...
---@param ... any
---@return any ...
function tasks.timeout(seconds, fn, ...)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    error("tg.timeout: expected seconds of zero or more first", 2)
  elseif type(fn) ~= "function" then
    error("tg.timeout: expected a function after the seconds, got a " .. type(fn), 2)
  end
  local group <close> = core.group()
  local task = group:spawn(fn, ...)
  if not group:next(seconds) then
    local message = ("no result within %g s"):format(seconds)
    error(setmetatable({ timeout = true, status = 503, message = message }, timeout_meta))
  end
  return task:join()
end

return tasks
