--- Paths of routes: literals, `:param`s and a final `*splat`.

local path = {}

-- As in core/engine/router.h.
local SEGMENTS_MAX = 256
local PARAMS_MAX = 32

---@class tidegate.path.Segment
---@field kind "literal"|"param"|"splat"
---@field text string the literal, or the param's name

local KINDS = { [":"] = "param", ["*"] = "splat" }

---@param text string begins with a slash
---@return tidegate.path.Segment[]
function path.segments(text)
  local segments = {}
  for segment in (text:sub(2) .. "/"):gmatch("([^/]*)/") do
    local kind = KINDS[segment:sub(1, 1)]
    segments[#segments + 1] = {
      kind = kind or "literal",
      text = kind and segment:sub(2) or segment,
    }
  end
  return segments
end

--- A nested "/" under "/api" means "/api/", and one slash is enough where "/api/" meets "/x".
---@param parent string "" for none
---@param own string
---@return string
function path.join(parent, own)
  return (parent:gsub("/$", "")) .. own
end

--- What two routes have in common when a router cannot tell them apart.
---@param segments tidegate.path.Segment[]
---@return string
function path.shape(segments)
  local out = {}
  for n, segment in ipairs(segments) do
    out[n] = segment.kind == "param" and ":" or segment.kind == "splat" and "*" or segment.text
  end
  return table.concat(out, "/")
end

---@param segments tidegate.path.Segment[]
---@return string[] names of the params and the splat, in order
function path.params(segments)
  local names = {}
  for _, segment in ipairs(segments) do
    if segment.kind ~= "literal" then
      names[#names + 1] = segment.text
    end
  end
  return names
end

--- "id.json" is refused rather than taken for a name: it was meant as a pattern.
local function name_problem(segment, seen)
  local mark = segment.kind == "param" and ":" or "*"
  if segment.text == "" then
    return ("a %q without a name"):format(mark)
  elseif segment.text:find("[^A-Za-z0-9_-]") then
    return ("%s%s: a name has letters, digits, '_' and '-' only"):format(mark, segment.text)
  elseif seen[segment.text] then
    return ("param %q is in the path twice"):format(segment.text)
  end
  seen[segment.text] = true
end

--- Everything that is wrong with a path that begins with a slash.
---@param text string
---@return string[] problems
function path.problems(text)
  local problems, seen = {}, {}
  local segments = path.segments(text)
  for n, segment in ipairs(segments) do
    if segment.kind ~= "literal" then
      problems[#problems + 1] = name_problem(segment, seen)
    end
    if segment.kind == "splat" and n < #segments then
      problems[#problems + 1] = ("*%s is not the path's last segment"):format(segment.text)
    end
  end
  if text:find("\0", 1, true) then
    problems[#problems + 1] = "the path holds a NUL"
  end
  if #segments > SEGMENTS_MAX then
    problems[#problems + 1] = ("the path has more than %d segments"):format(SEGMENTS_MAX)
  end
  if #path.params(segments) > PARAMS_MAX then
    problems[#problems + 1] = ("the path has more than %d params"):format(PARAMS_MAX)
  end
  return problems
end

return path
