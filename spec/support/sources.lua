-- sources.lua - the C sources as the guards read them.
local sources = {}

function sources.read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

-- Paths that find(1) gives for these arguments, in order; at least one, lest a guard guard nothing.
function sources.find(arguments)
  local paths = {}
  local pipe <close> = assert(io.popen("find " .. arguments .. " | LC_ALL=C sort"))
  for path in pipe:lines() do paths[#paths + 1] = path end
  assert(#paths > 0, "no file: find " .. arguments)
  return paths
end

-- The code alone: without comments, and with empty literals.
function sources.code(path)
  local text = sources.read(path)
  local out, at = {}, 1
  while true do
    local start = text:find("[\"'/]", at)
    if not start then break end
    out[#out + 1] = text:sub(at, start - 1)
    local mark, two = text:sub(start, start), text:sub(start, start + 1)
    if two == "/*" then
      at = select(2, assert(text:find("*/", start + 2, true))) + 1
    elseif two == "//" then
      at = text:find("\n", start, true) or #text + 1
    elseif mark == "/" then
      out[#out + 1] = mark
      at = start + 1
    else
      local last = start + 1
      while text:sub(last, last) ~= mark do
        last = last + (text:sub(last, last) == "\\" and 2 or 1)
      end
      out[#out + 1] = mark .. mark
      at = last + 1
    end
  end
  out[#out + 1] = text:sub(at)
  return table.concat(out)
end

-- Where the pattern occurs in the code of these files: a list of paths, one for each time.
function sources.occurrences(paths, pattern)
  local found = {}
  for _, path in ipairs(paths) do
    for _ in ("\n" .. sources.code(path)):gmatch(pattern) do found[#found + 1] = path end
  end
  return found
end

-- What a file includes: an iterator over "layer/name.h" or "event2/http.h" and the whole line.
function sources.includes(path)
  return sources.read(path):gmatch("[ \t]*#[ \t]*include[ \t]+[<\"]([^>\"]+)[>\"]")
end

return sources
