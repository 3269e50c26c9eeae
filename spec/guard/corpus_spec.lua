-- What the fuzzers have found stays found: each corpus is replayed, without clang.
local harness = require("harness")
local server = require("server")
local sources = require("sources")

local BUILD = os.getenv("TIDEGATE_BUILD") or "build"

describe("the corpus of", function()
  for _, path in ipairs(sources.find("fuzz -name 'fuzz_*.c'")) do
    local name = path:match("fuzz_([%w_]+)%.c$")

    it(name .. " is survived", function()
      local folder = "fuzz/corpus/" .. name
      sources.find(folder .. " -type f")
      local process <close> = assert(harness.spawn({ BUILD .. "/replay_" .. name, folder },
        { stdout = "pipe", stderr = "pipe" }))
      local exit, why = process:wait(60)
      local text = process:output("stdout") .. process:output("stderr")
      assert.same({ 0, nil }, { exit, why }, text)
      assert.is_nil(server.sanitizer_report(text))
    end)
  end
end)
