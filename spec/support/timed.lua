-- timed.lua - specs that measure a time: a busy machine can lengthen one measurement, a broken promise all of them.
--
--   it("answers at once (B32)", timed(function() … assert.is_true(harness.now() - start < 100) end))
local TRIES = 4

-- Runs the spec again when it fails, and says so: it holds when one of its runs does.
return function(spec)
  return function()
    for try = 1, TRIES do
      local held, problem = pcall(spec)
      if held then return end
      if try == TRIES then error(problem, 0) end
      io.stdout:write(("AGAIN %s\n"):format(type(problem) == "table" and problem.message or tostring(problem)))
    end
  end
end
