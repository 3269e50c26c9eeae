-- pattern_spec.lua - constraints' patterns: anchored, and malformed ones found.

local pattern = require("tidegate.pattern")

describe("a constraint's pattern", function()
  it("is anchored at both ends, once", function()
    for given, anchored in pairs({
      ["%d+"] = "^%d+$", ["^%d+"] = "^%d+$", ["%d+$"] = "^%d+$", ["^a$"] = "^a$", [""] = "^$",
      ["a%$"] = "^a%$$", ["a%%$"] = "^a%%$", ["%b($"] = "^%b($$", ["[$]"] = "^[$]$", ["^"] = "^$",
      ["$a"] = "^$a$", ["^^a"] = "^^a$",
    }) do
      assert.equal(anchored, pattern.anchor(given), given)
    end
  end)

  it("is refused when it is malformed, also where a match might not come (bad input)", function()
    for _, text in ipairs({
      "a%", "[a", "[^", "[]", "[%]", "a[b%", "(a", "a)", "((a)", "%bx", "%b", "%f", "%fa", "%f[a",
      "%1", "(a)%2", "(a%1)", "%0", ("()"):rep(33), "aaa(", "x*[",
    }) do
      local anchored, problem = pattern.anchor(text)
      assert.is_nil(anchored, text)
      assert.is_string(problem, text)
    end
  end)

  it("may use all that patterns have", function()
    for _, text in ipairs({
      "[]]", "[^]]", "[%]]", "[a-z]*", "(a)%1", "()", "%bxy", "%f[%w]", "a-b?c*d+", "(%d)(%d)%2%1",
      ("()"):rep(32), "[[]", "*", "a**", "a]", "(a)%1*", "-",
    }) do
      assert.is_string(pattern.anchor(text), text)
    end
  end)

  it("that is accepted never makes a match raise", function()
    math.randomseed(11)
    local pieces = { "%", "[", "]", "(", ")", "a", "b", "^", "$", "*", "-", "1", "f" }
    local accepted, refused = 0, 0
    for _ = 1, 20000 do
      local out = {}
      for n = 1, math.random(6) do
        out[n] = pieces[math.random(#pieces)]
      end
      local text = table.concat(out)
      local anchored = pattern.anchor(text)
      local body = anchored or ""
      local raised = false
      for _, value in ipairs({ "", "a", "aa", "ab", "(a)", "1", "%", "b)a", "[" }) do
        raised = raised or not pcall(string.find, value, body)
      end
      if anchored then
        accepted = accepted + 1
        assert(not raised, text)
      else
        refused = refused + 1
      end
    end
    assert.truthy(accepted > 1000 and refused > 1000)
  end)
end)
