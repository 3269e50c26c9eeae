--- tee.lua - tg.tee(body, sink): a body that somebody else gets, too, as it goes by.

local core = require("tidegate.core")

-- The function that takes each chunk, and nil at the end of the whole body.
local function taker(sink)
  if type(sink) == "function" then
    return sink
  end
  local kind = type(sink)
  if (kind ~= "table" and kind ~= "userdata") or not sink.write then
    error("tg.tee: the sink is a " .. kind .. ", expected a function or what has a write", 3)
  end
  return function(chunk)
    local done, why = true, nil
    if chunk then
      done, why = sink:write(chunk)
    elseif sink.close then
      done, why = sink:close()
    end
    if not done and why then -- as Lua's files say it
      error("tg.tee: " .. tostring(why), 0)
    end
  end
end

--- The body, whose chunks `sink` is given on their way: a function of (chunk), which is called with
--- nil at the end, or an object with `write`, whose `close`, if it has one, is called then. It
--- cannot change them, and may wait: the body waits with it. A body that fails or is cut has no
--- end: the sink hears no more of it.
---@param body any
---@param sink (fun(chunk: string?))|{ write: fun(self, chunk: string), close?: fun(self) }
---@return tidegate.Filter
local function tee(body, sink)
  local take = taker(sink)
  return core.map_body(body, function(chunk)
    take(chunk)
    return chunk
  end, function()
    take(nil)
  end)
end

return tee
