-- The strict parser of request heads.
local probe = require("probe_http")
local rows = require("wire_rows")

local function head(line, fields) return line .. "\r\n" .. (fields or "Host: a\r\n") .. "\r\n" end
local function parse(...) return probe.head_parse(head(...)) end
local function get(fields) return parse("GET / HTTP/1.1", "Host: a\r\n" .. (fields or "")) end
local function target(text, host)
  return parse(("GET %s HTTP/1.1"):format(text), ("Host: %s\r\n"):format(host or "a"))
end
local function host(text) return parse("GET / HTTP/1.1", ("Host: %s\r\n"):format(text)) end

local function accepted(result, ...)
  assert.equal("table", type(result), "refused with " .. tostring(result) .. " " .. (... or ""))
  return result
end

-- What a connection does with the bytes: as rows describe it.
local function serve(bytes)
  local seen = { statuses = {}, bodies = {}, targets = {}, ends = "open" }
  local function refuse(status)
    seen.statuses[#seen.statuses + 1] = status
    seen.ends = "close"
    return seen
  end
  while true do
    bytes = bytes:sub(probe.blank(bytes) + 1)
    local length = probe.find_end(bytes)
    if length == 0 then
      seen.rest = bytes ~= "" and bytes or nil
      return seen
    end
    local request = length < 0 and 400 or probe.head_parse(bytes:sub(1, length))
    if type(request) == "number" then return refuse(request) end
    local framing = probe.framing(request.framing, request.length)
    local body, state, used = framing:feed(bytes:sub(length + 1))
    if state == "broken" then return refuse(400) end
    if state == "more" then
      seen.waits = true
      return seen
    end
    bytes = bytes:sub(length + used + 1)
    seen.statuses[#seen.statuses + 1] = 200
    seen.bodies[#seen.bodies + 1] = body
    seen.targets[#seen.targets + 1] = request.target
    if request.close then
      seen.ends = "close"
      return seen
    end
  end
end

describe("the bytes of", function()
  for _, row in ipairs(rows) do
    it(row.name .. " come out as the table says (B51)", function()
      if row.rest then assert.is_true(serve(row.bytes .. rows.MARK).waits) end
      assert.same({ statuses = row.statuses, bodies = row.bodies, targets = row.targets,
        ends = row.ends }, serve(row.bytes .. rows.MARK .. (row.rest or "")))
    end)
  end
end)

describe("a head", function()
  it("is taken apart, each part as it was sent", function()
    local request = accepted(parse("PATCH /a/b%20c?d=e?f HTTP/1.1",
      "Host: example.org:81\r\nX-A:\t one two \t\r\nx-b:\r\n"))
    assert.same({
      method = "PATCH", target = "/a/b%20c?d=e?f", path = "/a/b%20c", query = "d=e?f",
      authority = "example.org:81", minor = 1, secure = false, close = false,
      expect_continue = false, framing = "none", length = 0,
      fields = { { "Host", "example.org:81" }, { "X-A", "one two" }, { "x-b", "" } },
    }, request)
  end)

  it("knows an empty query from none", function()
    assert.equal("", target("/?").query)
    assert.is_nil(target("/").query)
  end)

  it("may have no field at all in HTTP/1.0, and then closes (B31)", function()
    local request = accepted(parse("GET / HTTP/1.0", ""))
    assert.same({ 0, true, "", {} },
      { request.minor, request.close, request.authority, request.fields })
  end)

  it("is refused when it is not whole", function()
    local whole = head("GET / HTTP/1.1")
    for n = 0, #whole - 1 do assert.equal(400, probe.head_parse(whole:sub(1, n)), n) end
    assert.equal(400, probe.head_parse(whole .. whole))
    assert.equal(400, probe.head_parse(whole .. "\r\n\r\n"))
  end)

  it("is refused for a control character or NUL at any place (B51)", function()
    local whole = "GET /path?q HTTP/1.1\r\nHost: a\r\nX-Name: some value\r\n\r\n"
    for c = 0, 127 do
      if c < 32 and c ~= 9 or c == 127 then
        for at = 1, #whole - 3 do
          local bytes = whole:sub(1, at) .. string.char(c) .. whole:sub(at + 1)
          assert.equal(400, probe.head_parse(bytes), ("%d at %d"):format(c, at))
        end
      end
    end
  end)

  it("has as many fields as the limit says, and one more is 431 (B51)", function()
    local bytes = head("GET / HTTP/1.1", "Host: a\r\n" .. ("X: y\r\n"):rep(9))
    assert.equal(10, #accepted(probe.head_parse(bytes, 10)).fields)
    assert.equal(431, probe.head_parse(bytes, 9))
    local most = "Host: a\r\n" .. ("X: y\r\n"):rep(127)
    assert.equal(128, #accepted(probe.head_parse(head("GET / HTTP/1.1", most))).fields)
    assert.equal(431, probe.head_parse(head("GET / HTTP/1.1", most .. "X: y\r\n")))
    assert.equal(431, probe.head_parse(head("GET / HTTP/1.1", most .. "X: y\r\n"), 1000))
  end)

  it("has a target as long as the limit says, and one byte more is 414 (B51)", function()
    local bytes = head("GET /" .. ("t"):rep(99) .. " HTTP/1.1")
    assert.equal(100, #accepted(probe.head_parse(bytes, 0, 100)).target)
    assert.equal(414, probe.head_parse(bytes, 0, 99))
    assert.is_table(probe.head_parse(bytes, 0, 0))
  end)
end)

describe("a target", function()
  it("takes the visible characters of ASCII but '#' (B51)", function()
    for c = 0, 255 do
      local visible = c > 32 and c < 127 and c ~= 35
      local result = target("/x" .. string.char(c) .. "y")
      assert.equal(visible and "table" or "number", type(result), c)
      if not visible then assert.equal(400, result) end
    end
  end)

  it("in absolute form gives its path, query, authority and scheme", function()
    local request = accepted(target("https://A.example:8443/p/q?r=s", "a.EXAMPLE:8443"))
    assert.same({ "/p/q", "r=s", true }, { request.path, request.query, request.secure })
    assert.equal("a.example:8443", request.authority:lower())
    assert.is_false(target("http://a/").secure)
  end)

  it("in absolute form may have no path, which is '/'", function()
    assert.same({ "/", "q" }, { target("http://a?q").path, target("http://a?q").query })
    assert.equal("/", target("https://a").path)
    assert.is_nil(target("https://a").query)
  end)

  it("in absolute form is the authority of an HTTP/1.0 request without Host", function()
    assert.equal("b:1", accepted(parse("GET http://b:1/x HTTP/1.0", "")).authority)
    assert.equal(400, parse("GET http://b:1/x HTTP/1.1", ""))
  end)

  it("in absolute form is held to the grammar of Host (B51)", function()
    for _, text in ipairs({ "http:/a", "http:a", "http//a/", "httpx://a/", "http://", "https://",
      "http:///", "http://?q", "http://a:b/", "http://[::1/", "http://u@a/", "HTTPS//a" }) do
      assert.equal(400, target(text), text)
    end
    assert.equal("[::1]:80", accepted(target("http://[::1]:80/", "[::1]:80")).authority)
  end)

  it("'*' is for OPTIONS alone (B51)", function()
    assert.equal("*", accepted(parse("OPTIONS * HTTP/1.1")).path)
    for _, line in ipairs({ "GET *", "HEAD *", "options *", "OPTIONS *x", "OPTIONS *?q" }) do
      assert.equal(400, parse(line .. " HTTP/1.1"), line)
    end
  end)
end)

describe("a method", function()
  it("is any token of up to 32 bytes, its case kept (B51)", function()
    for c = 0, 255 do
      local char = string.char(c)
      local token = char:find("[%w!#$%%&'*+%-.^_`|~]") and c < 128
      if char ~= " " then
        assert.equal(token and "table" or "number", type(parse("G" .. char .. "T / HTTP/1.1")), c)
      end
    end
    assert.equal("gEt", parse("gEt / HTTP/1.1").method)
    assert.equal(501, parse(("M"):rep(33) .. " / HTTP/1.1"))
    assert.equal(400, parse(" / HTTP/1.1"))
  end)
end)

describe("a version", function()
  it("is 1.0 or, with any other digit, 1.1 (B51)", function()
    for minor = 0, 9 do
      assert.equal(math.min(minor, 1), accepted(parse("GET / HTTP/1." .. minor)).minor)
    end
  end)

  it("of another number is 505, and of another form 400 (B51)", function()
    for _, text in ipairs({ "HTTP/1.", "HTTP/1.a", "HTTP/1.10", "HTTP/0.9", "HTTP/3", "HTTP/",
      "HTTP/1.1 ", "HTTP/1,1", "HTTP/11.1" }) do
      assert.equal(505, parse("GET / " .. text), text)
    end
    for _, text in ipairs({ "", " HTTP/1.1", "http/1.1", "Http/1.1", "HTTP", "HTTPS/1.1",
      "ICAP/1.0", "HTTP/1.1\t", "HTTP/1.1\r", "HTTP/2.0\0" }) do
      assert.equal(400, parse("GET / " .. text), text)
    end
  end)
end)

describe("Host", function()
  it("is a name, an IPv4 address or a bracketed IPv6 one, with a port or without (B51)", function()
    for _, text in ipairs({ "", "a", "A-b.c_d~", "xn--caf-dma.example", "127.0.0.1", "a:", "a:0",
      "a:65535", "[::1]", "[::1]:8080", "[2001:db8::ff]", "[::ffff:127.0.0.1]", "a%2Db",
      "a!$&'()*+;=" }) do
      assert.equal(text, accepted(host(text), text).authority)
    end
  end)

  it("is refused when it is anything else (B51)", function()
    for _, text in ipairs({ ":", ":80", "a:b", "a:65536", "a:000001", "a:-1", "a:1:2", "a b", "a/b",
      "a?b", "a\\b", "u@a", "u:p@a", "[]", "[", "]", "[::1", "[::1]x", "[::1]:x", "[1.2.3.4]",
      "[::1%25lo]", "[v1.x]", "[" .. ("1"):rep(45) .. "]",
      "[" .. ("1"):rep(46) .. "]", "[" .. ("1:"):rep(60) .. "]", "::1", "a%", "a%2", "a%zz", "a%00",
      "caf\xc3\xa9", "a\"", "a|b", "a\tb" }) do
      assert.equal(400, host(text), text)
    end
  end)

  it("is there once, in any case (B51)", function()
    assert.equal("a", accepted(parse("GET / HTTP/1.1", "hOsT: a\r\n")).authority)
    assert.equal(400, parse("GET / HTTP/1.1", "Host: a\r\nhost: a\r\n"))
    assert.equal(400, parse("GET / HTTP/1.1", "X: y\r\n"))
    assert.equal(400, parse("GET / HTTP/1.1", "Hostx: a\r\nHos: a\r\nXost: a\r\n"))
  end)
end)

describe("framing fields", function()
  it("give a length of up to 18 digits (B51)", function()
    local request = accepted(get("content-LENGTH:999999999999999999\r\n"))
    assert.same({ "length", 999999999999999999 }, { request.framing, request.length })
    assert.equal(0, get("Content-Length: 0\r\n").length)
    assert.equal(400, get("Content-Length: 1000000000000000000\r\n"))
  end)

  it("of other names are no framing fields", function()
    local names = { "Content-Lengtx", "Xontent-Length", "Transfer_Encoding", "Transfer-Encodin" }
    local request = accepted(get(table.concat(names, ": 5\r\n") .. ": 5\r\n"))
    assert.equal("none", request.framing)
  end)

  it("are refused in any order and any number beyond one (B51)", function()
    local te, cl = "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"
    for _, fields in ipairs({ te .. cl, cl .. te, te .. te, cl .. cl, cl .. "X: y\r\n" .. cl }) do
      assert.equal(400, get(fields), fields)
    end
    assert.equal("chunked", get(te).framing)
  end)
end)

describe("Expect", function()
  it("is 100-continue, in any case, or 417 (B49)", function()
    assert.is_true(accepted(get("Expect: 100-Continue\r\n")).expect_continue)
    for _, text in ipairs({ "", "100", "100-continue, x", "100-continued" }) do
      assert.equal(417, get("Expect: " .. text .. "\r\n"), text)
    end
  end)

  it("is nothing to HTTP/1.0, which knows no 1xx", function()
    assert.is_false(accepted(parse("GET / HTTP/1.0", "Expect: 100-continue\r\n")).expect_continue)
  end)
end)

describe("Connection", function()
  it("closes when any of its lines lists close", function()
    for _, fields in ipairs({ "Connection: close", "connection: CLOSE", "Connection: x ,\tclose",
      "Connection: ,,close,", "Connection: x\r\nConnection: y\r\nConnection: close",
      "Connection: close\r\nConnection: keep-alive" }) do
      assert.is_true(accepted(get(fields .. "\r\n")).close, fields)
    end
    for _, fields in ipairs({ "Connection: keep-alive", "Connection: closed", "Connection: unclose",
      "Connection:", "Connection: ,", "X-Connection: close", "Konnection: close" }) do
      assert.is_false(accepted(get(fields .. "\r\n")).close, fields)
    end
  end)
end)

describe("the end of a head", function()
  local bytes = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"

  it("is found behind its empty line, and no further", function()
    assert.equal(#bytes, (probe.find_end(bytes)))
    assert.equal(#bytes, (probe.find_end(bytes .. bytes)))
    for n = 0, #bytes - 1 do assert.equal(0, (probe.find_end(bytes:sub(1, n))), n) end
  end)

  it("is found the same when the bytes come one by one", function()
    local scanned, length = 0, nil
    for n = 1, #bytes do
      length, scanned = probe.find_end(bytes:sub(1, n), scanned)
      if n < #bytes then assert.equal(0, length) end
    end
    assert.equal(#bytes, length)
  end)

  it("is looked for in each byte once", function()
    local _, scanned = probe.find_end(("x"):rep(1000))
    assert.equal(1000, scanned)
    assert.equal(0, (probe.find_end(("\n"):rep(1000), 1000)))
  end)

  it("is given up at a bare LF (B51)", function()
    for _, text in ipairs({ "\n", "G\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n",
      "GET / HTTP/1.1\r\n\n", "\r\n" }) do
      assert.equal(-1, (probe.find_end(text)), text)
    end
  end)

  it("is found behind blank lines that come in pieces", function()
    for blanks = 0, 2 do
      local text = ("\r\n"):rep(blanks) .. bytes
      local scanned, length = 0, nil
      for n = 1, #text do
        local blank = probe.blank(text:sub(1, n))
        length, scanned = probe.find_end(text:sub(blank + 1, n), scanned)
        if n < #text then assert.equal(0, length, n) end
      end
      assert.equal(#bytes, length)
    end
  end)

  it("is given up at an LF behind a blank line that came in two pieces", function()
    local length, scanned = probe.find_end("\r")
    assert.equal(0, length)
    assert.equal(2, probe.blank("\r\n\n" .. bytes))
    assert.equal(-1, (probe.find_end("\n" .. bytes, scanned)))
  end)
end)

describe("blank lines", function()
  it("before a head are skipped, two of them (B51)", function()
    for text, count in pairs({ [""] = 0, ["\r"] = 0, ["\r\n"] = 2, ["\r\n\r"] = 2, ["\r\n\r\n"] = 4,
      ["\r\n\r\n\r\n"] = 4, ["\n"] = 0, ["\r\rGET"] = 0, ["GET\r\n"] = 0, ["\r\nGET"] = 2 }) do
      assert.equal(count, probe.blank(text), text)
    end
  end)
end)

describe("a token, and a field value,", function()
  it("are told from what is none (B30)", function()
    for c = 0, 255 do
      local char = string.char(c)
      local token = char:find("[%w!#$%%&'*+%-.^_`|~]") and c < 128
      local value = c == 9 or c >= 32 and c ~= 127
      assert.equal(token and true or false, probe.is_token("a" .. char), c)
      assert.equal(value, probe.is_field_value("a" .. char), c)
    end
    assert.is_false(probe.is_token(""))
    assert.is_true(probe.is_field_value(""))
  end)
end)
