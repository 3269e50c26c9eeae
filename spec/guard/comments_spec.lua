-- Every file begins with a line that says what it is for.
local sources = require("sources")

local function first_line(path)
  local file <close> = assert(io.open(path))
  return file:read("l")
end

local function name_of(path) return path:match("[^/]*$"):gsub("%p", "%%%0") end

describe("a source", function()
  it("in C begins with its name and its purpose", function()
    for _, path in ipairs(sources.find("core include spec fuzz examples -name '*.[ch]'")) do
      assert.matches("^/%* " .. name_of(path) .. " %- %S", first_line(path), 1, false, path)
    end
  end)

  it("in Lua begins with a comment", function()
    for _, path in ipairs(sources.find("lua spec examples -name '*.lua'")) do
      assert.matches("^%-%-%-? ?%S", first_line(path), 1, false, path)
    end
  end)
end)
