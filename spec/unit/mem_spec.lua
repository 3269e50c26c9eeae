-- mem_spec.lua - how many blocks are allocated.

local probe = require("probe_mem")

describe("the count of blocks", function()
  it("goes with what is allocated, moved and freed, and not with what fails", function()
    assert.same({ 1, 1, 1, 2, 3, 4, 4, 4, 0 }, { probe.one() })
  end)

  it("is exact however many threads there are, and whichever frees what", function()
    for _, threads in ipairs({ 1, 8, 100, 100 }) do
      assert.same({ threads * 250, 0 }, { probe.threads(threads) })
    end
  end)
end)
