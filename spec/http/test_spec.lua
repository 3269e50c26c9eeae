-- tg.test: what spec/trials says of it, each as a spec of this run.
local server = require("server")

-- Runs trials/*_trial.lua as a project's specs are run, and makes a spec of each line of the result.
local result = server.command({ "test", ".", "--pattern=_trial", "--output=TAP", "spec/trials" },
  { timeout = 120 })

describe("tidegate test:", function()
  local count = 0

  local function declare(verdict, name, details)
    count = count + 1
    it(name, function() assert(verdict == "ok", details) end)
  end

  local verdict, name, details
  for line in (result.stdout .. "ok 0 - the end\n"):gmatch("([^\n]*)\n") do
    local new_verdict, new_name = line:match("^(n?o?t? ?ok) %d+ %- (.*)")
    if new_verdict then
      if verdict then declare(verdict, name, details) end
      verdict, name, details = new_verdict, new_name, new_name
    elseif details then
      details = details .. "\n" .. line
    end
  end

  it("runs them all, and has nothing else to say", function()
    assert.equal("", result.stderr)
    assert.equal(0, result.exit)
    assert.is_true(count >= 25, count)
  end)
end)
