--- Lua patterns as constraints: what is wrong with one, and how it is anchored.

local pattern = {}

local CAPTURES_MAX = 32 -- LUA_MAXCAPTURES

--- The position after the set that begins at `at`, or nil when it has no end.
local function set_end(text, at)
  at = at + 1
  if text:sub(at, at) == "^" then
    at = at + 1
  end
  repeat -- a "]" that comes first is a member
    if at > #text then
      return nil
    end
    at = at + (text:sub(at, at) == "%" and 2 or 1)
  until text:sub(at, at) == "]"
  return at + 1
end

---@class tidegate.pattern.Scan
---@field text string
---@field at integer
---@field open integer[]            captures that have begun, innermost last
---@field closed table<integer, true>
---@field captures integer

--- Each passes over one item of the pattern, and returns what is wrong with it.
---@type table<string, fun(scan: tidegate.pattern.Scan): string?>
local items = {}

--- What a quantifier may follow: a character, a class or a set that ends before `at`.
local function single(scan, at)
  scan.at = at + #scan.text:match("^[*+?-]?", at)
end

items["("] = function(scan)
  scan.captures = scan.captures + 1
  if scan.captures > CAPTURES_MAX then
    return "too many captures"
  end
  if scan.text:sub(scan.at + 1, scan.at + 1) == ")" then
    scan.closed[scan.captures] = true
    scan.at = scan.at + 2
  else
    scan.open[#scan.open + 1] = scan.captures
    scan.at = scan.at + 1
  end
end

items[")"] = function(scan)
  local capture = table.remove(scan.open)
  if not capture then
    return "a ')' without a '('"
  end
  scan.closed[capture] = true
  scan.at = scan.at + 1
end

items["["] = function(scan)
  local after = set_end(scan.text, scan.at)
  if not after then
    return "a '[' without a ']'"
  end
  single(scan, after)
end

items["%"] = function(scan)
  local next = scan.text:sub(scan.at + 1, scan.at + 1)
  if next == "" then
    return "a '%' at its end"
  elseif next == "b" then
    scan.at = scan.at + 4
    return scan.at > #scan.text + 1 and "a '%b' without its two characters" or nil
  elseif next == "f" then
    local after = scan.text:sub(scan.at + 2, scan.at + 2) == "[" and set_end(scan.text, scan.at + 2)
    scan.at = after or scan.at
    return not after and "a '%f' without its set" or nil
  elseif next:find("%d") then
    scan.at = scan.at + 2
    return not scan.closed[tonumber(next)] and ("no capture for '%%%s'"):format(next) or nil
  end
  single(scan, scan.at + 2)
end

--- `text` so that it takes a whole value.  Lua notices what is wrong with a pattern only when a
--- match comes to it, so all of it is read here.
---@param text string
---@return string? anchored
---@return string? problem
function pattern.anchor(text)
  if text:sub(1, 1) == "^" then
    text = text:sub(2)
  end
  local scan = { text = text, at = 1, open = {}, closed = {}, captures = 0 }
  while scan.at <= #text do
    if scan.at == #text and text:sub(-1) == "$" then
      text = text:sub(1, -2)
      break
    end
    local item = items[text:sub(scan.at, scan.at)]
    local problem
    if item then
      problem = item(scan)
    else
      single(scan, scan.at + 1)
    end
    if problem then
      return nil, problem
    end
  end
  if #scan.open > 0 then
    return nil, "a '(' without a ')'"
  end
  return "^" .. text .. "$"
end

return pattern
