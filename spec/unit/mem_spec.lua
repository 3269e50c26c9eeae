-- mem_spec.lua - how many blocks are allocated, and pools of small ones.

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

describe("a pool of small blocks", function()
  it("keeps what is in its blocks, however they are made, moved and freed", function()
    for seed = 1, 5 do assert.is_true(probe.pool(seed, 0)) end
  end)

  it("does so when memory gives out, and never fails to shrink a block", function()
    for seed = 1, 5 do assert.is_true(probe.pool(seed, 7)) end
  end)
end)
