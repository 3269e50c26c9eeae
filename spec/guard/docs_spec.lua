-- What is made of the annotations in lua/ is what is checked in.
local sources = require("sources")

local function made(what)
  local pipe <close> = assert(io.popen("lua5.4 docs/generate.lua " .. what))
  local text = pipe:read("a")
  assert.is_true(pipe:close())
  return text
end

describe("make docs", function()
  for what, path in pairs({
    reference = "docs/reference.md",
    editor = "core/cli/files/project/.tidegate/tidegate.lua",
  }) do
    it("has made " .. path .. " of the annotations as they are", function()
      assert(made(what) == sources.read(path), path .. " is not current: `make docs`, and commit it")
    end)
  end

  it("makes Lua for editors", function()
    assert(load(made("editor")))
  end)

  it("has everything that tidegate returns in the reference", function()
    local text = sources.read("docs/reference.md")
    local names = {}
    for name in sources.read("lua/tidegate/init.lua"):gmatch("\n[a-z]* ?tg%.(%l[%w_]*)") do
      names[#names + 1] = name
    end
    assert.is_true(#names >= 20)
    for _, name in ipairs(names) do
      assert(text:find("\n### tg%." .. name .. "%f[%W]"), name)
    end
  end)
end)

describe("docs/embedding.md", function()
  it("has the C of the examples, as it is", function()
    local examples = sources.read("examples/embed.c") .. "\n" .. sources.read("examples/embed-stream.c")
    local count = 0
    for code in sources.read("docs/embedding.md"):gmatch("\n```c\n(.-\n)```\n") do
      count = count + 1
      assert(examples:find("\n" .. code, 1, true), "not in examples/:\n" .. code)
    end
    assert.is_true(count >= 10)
  end)
end)
