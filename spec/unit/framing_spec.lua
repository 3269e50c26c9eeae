-- Body framing: payload between the lines of its grammar, however the bytes are cut.
local probe = require("probe_http")

local function feed(bytes, kind, length)
  local payload, state, used, runs = probe.framing(kind or "chunked", length):feed(bytes)
  return { payload = payload, state = state, used = used, runs = runs }
end

local function state_of(bytes) return feed(bytes).state end

-- Fed in pieces of so many bytes; what is not used of one is the end.
local function feed_in_pieces(bytes, size, kind, length)
  local framing = probe.framing(kind or "chunked", length)
  local result = { payload = "", state = framing:state(), used = 0 }
  for at = 1, #bytes, size do
    local payload, state, used = framing:feed(bytes:sub(at, at + size - 1))
    result.payload = result.payload .. payload
    result.state = state
    result.used = result.used + used
    if state ~= "more" then break end
  end
  return result
end

describe("a request without a body", function()
  it("is done before its first byte", function()
    for _, framing in ipairs({ probe.framing("none"), probe.framing("length", 0) }) do
      assert.equal("done", framing:state())
      assert.same({ "", "done", 0, 0 }, { framing:feed("GET /") })
    end
  end)
end)

describe("a body by its length", function()
  it("takes so many bytes and leaves what follows (B49, B52)", function()
    assert.same({ payload = "hello", state = "done", used = 5, runs = 1 },
      feed("helloGET /", "length", 5))
  end)

  it("is one run as far as the bytes go, whatever they are", function()
    assert.same({ payload = "he\0\r\n", state = "more", used = 5, runs = 1 },
      feed("he\0\r\n", "length", 6))
  end)

  it("counts what 18 digits can say", function()
    local framing = probe.framing("length", 999999999999999999)
    assert.equal("more", select(2, framing:feed(("x"):rep(1000))))
  end)
end)

describe("a chunked body", function()
  it("gives the data of each chunk as one run (B49)", function()
    local bytes = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    assert.same({ payload = "hello world", state = "done", used = #bytes, runs = 2 },
      feed(bytes .. "GET /"))
  end)

  it("is the same however it is cut", function()
    local bytes = "00005;a=\"b\"\r\nhello\r\nA\r\n\r\n0\r\n\r\n\0\0\0\r\n"
      .. "0;x\r\nX-Y: z\r\nE:\r\n\r\n"
    local whole = feed(bytes .. "rest")
    assert.equal("done", whole.state)
    assert.equal(#bytes, whole.used)
    for size = 1, #bytes do
      assert.same({ payload = whole.payload, state = "done", used = #bytes },
        feed_in_pieces(bytes .. "rest", size))
    end
  end)

  it("wants more bytes until its last one (B49)", function()
    local bytes = "5;e\r\nhello\r\n0\r\nX: y\r\n\r\n"
    for n = 0, #bytes - 1 do assert.equal("more", state_of(bytes:sub(1, n)), n) end
    assert.equal("done", state_of(bytes))
  end)

  it("reads sizes in both cases, up to 15 digits (B51)", function()
    local size = ("aF"):lower()
    assert.equal(("x"):rep(0xaf), feed(size .. "\r\n" .. ("x"):rep(0xaf) .. "\r\n").payload)
    assert.equal(("x"):rep(0xaf), feed("AF\r\n" .. ("x"):rep(0xaf) .. "\r\n").payload)
    assert.equal("more", state_of(("f"):rep(15) .. "\r\nx"))
    assert.equal("more", state_of(("0"):rep(14) .. "1\r\nx"))
    assert.equal("broken", state_of(("f"):rep(16)))
    assert.equal("broken", state_of(("0"):rep(16)))
  end)

  it("is broken by a size that is more or less than hex digits (B51)", function()
    for _, line in ipairs({ "", ";a", "+5", "-5", "0x5", " 5", "5 ", "5\t", "5 ;a", "g", "\0",
      "5\0", "5\v", "\xb5", "5:", "5\r", "5\r5" }) do
      assert.equal("broken", state_of(line .. "\r\n"), line)
    end
  end)

  it("is broken by a line that ends in anything but CRLF (B51)", function()
    for _, bytes in ipairs({ "5\n", "5;a\n", "5;a\rb", "5\r\nhello\n", "5\r\nhellox",
      "5\r\nhello\rx", "5\r\nhello\r\r", "0\r\n\n", "0\r\n\rx", "0\r\nX: y\n",
      "0\r\nX: y\rz", "0\r\nX\r\n" }) do
      assert.equal("broken", state_of(bytes), bytes)
    end
  end)

  it("skips extensions, without control characters and up to 256 bytes of line (B51)", function()
    assert.equal("more", state_of("1;" .. ("e"):rep(254) .. "\r\n"))
    assert.equal("broken", state_of("1;" .. ("e"):rep(255) .. "\r\n"))
    assert.equal("more", state_of("1; a = \"\tcaf\xc3\xa9\"\r\n"))
    for _, c in ipairs({ "\0", "\1", "\v", "\127" }) do
      assert.equal("broken", state_of("1;a" .. c), ("%q"):format(c))
    end
  end)

  it("counts each chunk's line anew", function()
    local chunk = "1;" .. ("e"):rep(200) .. "\r\nx\r\n"
    local result = feed(chunk:rep(20) .. "0\r\n\r\n")
    assert.equal("done", result.state)
    assert.equal(("x"):rep(20), result.payload)
  end)

  it("checks trailers and drops them (B49)", function()
    assert.equal("done", state_of("0\r\nX: y\r\nContent-Length: 5\r\nEmpty:\r\n\r\n"))
    for _, line in ipairs({ "nocolon", " X: y", "\tX: y", ": y", "X : y", "X\0: y", "X: \0",
      "X: \1", "X: \127", "X(: y" }) do
      assert.equal("broken", state_of("0\r\n" .. line .. "\r\n\r\n"), line)
    end
  end)

  it("is broken by more than 4096 bytes of trailers (B51)", function()
    local function trailers(n) return "0\r\nX:" .. ("t"):rep(n - 6) .. "\r\n\r\n" end
    assert.equal("done", state_of(trailers(4096)))
    assert.equal("broken", state_of(trailers(4097)))
    assert.equal("broken", state_of("0\r\n" .. ("X:\r\n"):rep(1100)))
  end)

  it("uses nothing more once it is over", function()
    for _, bytes in ipairs({ "0\r\n\r\n", "x" }) do
      local framing = probe.framing("chunked")
      local _, state = framing:feed(bytes)
      local payload, after, used = framing:feed("5\r\nhello\r\n0\r\n\r\n")
      assert.same({ "", state, 0 }, { payload, after, used })
    end
  end)
end)
