-- percent_spec.lua - percent-encoding and the splitting of queries.

local probe = require("probe_router")

describe("percent-encoding", function()
  it("takes an escape of two hex digits in either case for valid (B53)", function()
    for _, good in ipairs({ "", "abc", "%41", "%c3%A9", "%2F%2f", "a%20", "%00", "%0a", "%10" }) do
      assert.is_true(probe.valid(good), good)
    end
    for _, bad in ipairs({ "%", "%4", "a%", "%zz", "%4g", "%g4", "%%41", "%00%" }) do
      assert.is_false(probe.valid(bad), bad)
    end
  end)

  it("finds a NUL, and the escape of one", function()
    for _, with in ipairs({ "\0", "a\0", "%00", "x%00y", "%%00", "%01%00", "%0%00" }) do
      assert.is_true(probe.has_nul(with), with)
    end
    for _, without in ipairs({ "", "a", "%", "%0", "%01", "%10", "%0g0", "00%", "%2500" }) do
      assert.is_false(probe.has_nul(without), without)
    end
  end)

  it("decodes escapes, and leaves alone what is none", function()
    assert.equal("café/", probe.decode("caf%C3%a9%2F"))
    assert.equal("%", probe.decode("%"))
    assert.equal("%4", probe.decode("%4"))
    assert.equal("%zzA", probe.decode("%zz%41"))
    assert.equal("%41", probe.decode("%2541"))
    assert.equal("a\0b", probe.decode("a%00b"))
  end)

  it("decodes a plus as a space in a form only, and an escaped plus never", function()
    assert.equal("a b+", probe.decode("a+b%2B", true))
    assert.equal("a+b+", probe.decode("a+b%2B", false))
  end)

  it("encodes all but what is unreserved", function()
    assert.equal("azAZ09-._~", probe.encode("azAZ09-._~"))
    assert.equal("%20%2F%3F%25%2B%26%00%FF%C3%A9", probe.encode(" /?%+&\0\255é"))
  end)

  it("keeps a slash when asked to", function()
    assert.equal("a/b%3F", probe.encode("a/b?", true))
  end)

  it("gives every byte back after a round trip", function()
    local all = {}
    for byte = 0, 255 do
      all[#all + 1] = string.char(byte)
    end
    local bytes = table.concat(all)
    assert.equal(bytes, probe.decode(probe.encode(bytes)))
    assert.equal(bytes, probe.decode(probe.encode(bytes, true), true))
  end)
end)

describe("a query", function()
  it("is split into names and values that stay encoded", function()
    assert.same({ { "a", "1" }, { "b", "%20+" } }, probe.query("a=1&b=%20+"))
  end)

  it("keeps repeated names, in order", function()
    assert.same({ { "a", "2" }, { "a", "1" } }, probe.query("a=2&a=1"))
  end)

  it("gives a name without an equals sign an empty value", function()
    assert.same({ { "a", "" }, { "b", "" } }, probe.query("a&b="))
  end)

  it("splits at the first equals sign only", function()
    assert.same({ { "a", "b=c" }, { "", "x" } }, probe.query("a=b=c&=x"))
  end)

  it("passes over empty pieces", function()
    assert.same({ { "a", "1" }, { "b", "2" } }, probe.query("&&a=1&&&b=2&"))
    assert.same({}, probe.query("&&&"))
    assert.same({}, probe.query(""))
  end)
end)
