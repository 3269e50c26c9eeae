-- What serves files, without files: Range, conditions, dates, media types, names of downloads.
local probe = require("probe_file")

local function ranges(value, size) return probe.ranges(value, size or 1000) end

describe("a Range (B22)", function()
  it("is a first and a last position, or one of them", function()
    assert.same({ { 0, 1 } }, ranges("bytes=0-0"))
    assert.same({ { 10, 10 } }, ranges("bytes=10-19"))
    assert.same({ { 990, 10 } }, ranges("bytes=990-"))
    assert.same({ { 995, 5 } }, ranges("bytes=-5"))
    assert.same({ { 0, 1000 } }, ranges("bytes=0-"))
  end)

  it("is cut to the size", function()
    assert.same({ { 990, 10 } }, ranges("bytes=990-5000"))
    assert.same({ { 990, 10 } }, ranges("bytes=990-1000"))
    assert.same({ { 990, 10 } }, ranges("bytes=990-999"))
    assert.same({ { 0, 1000 } }, ranges("bytes=-5000"))
    assert.same({ { 1, 999 } }, ranges("bytes=1-99999999999999999999999999"))
    assert.same({ { 0, 1000 } }, ranges("bytes=-99999999999999999999999999"))
    assert.same({ { 0, math.maxinteger } }, ranges("bytes=0-18446744073709551615", math.maxinteger))
  end)

  it("cannot be satisfied when it begins behind the end", function()
    for _, value in ipairs({ "bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=5000-,-0",
      "bytes=99999999999999999999999999-" }) do
      assert.equal("unsatisfiable", ranges(value), value)
    end
    assert.equal("unsatisfiable", ranges("bytes=0-", 0))
    assert.same({ { 5, 1 } }, ranges("bytes=5000-, 5-5, -0"))
  end)

  it("of the last bytes of nothing is all of it, which has no positions", function()
    assert.equal("whole", ranges("bytes=-5", 0))
  end)

  it("is ignored when it is of another unit, or makes no sense", function()
    for _, value in ipairs({ "", "bytes", "bytes=", "bytes= ", "bytes=,", "bytes=-", "bytes=5-4",
      "bytes=a-b", "bytes=0-9;", "bytes=0-9 10-19", "bytes=0-9,x", "lines=0-9", "bytes =0-9",
      "bytes=0 -9", "bytes=0--9", "bytes=+0-9", "bytes=0x1-9", "=0-9", "bytes0-9" }) do
      assert.equal("whole", ranges(value), value)
    end
  end)

  it("names its unit in any case, and may have white space and empty elements", function()
    assert.same({ { 0, 10 }, { 500, 10 } }, ranges("Bytes=0-9,\t500-509"))
    assert.same({ { 0, 10 }, { 500, 10 } }, ranges("bytes=, ,0-9 , , 500-509,"))
  end)

  it("joins what overlaps or touches, and keeps the order of the rest (B22)", function()
    assert.same({ { 0, 300 } }, ranges("bytes=0-199,100-299"))
    assert.same({ { 0, 300 } }, ranges("bytes=0-99,100-299"))
    assert.same({ { 0, 300 } }, ranges("bytes=200-299,0-99,100-199"))
    assert.same({ { 0, 2 }, { 4, 2 } }, ranges("bytes=0-1,4-5", 10))
    assert.same({ { 3, 1 }, { 1, 1 } }, ranges("bytes=3-3,1-1", 10))
    assert.same({ { 800, 10 }, { 0, 10 } }, ranges("bytes=800-809,0-9"))
    assert.same({ { 0, 10 }, { 400, 600 } }, ranges("bytes=0-9,400-409,900-999,405-950"))
    assert.same({ { 0, 1000 } }, ranges("bytes=0-,-1,5-5,0-0"))
  end)

  it("of too many parts is ignored, so that none costs more than the whole", function()
    local many = {}
    for i = 1, 32 do many[i] = ("%d-%d"):format(i * 1000, i * 1000) end
    assert.equal(32, #ranges("bytes=" .. table.concat(many, ","), 100000))
    many[33] = "0-0"
    assert.equal("whole", ranges("bytes=" .. table.concat(many, ","), 100000))
  end)
end)

describe("a date of HTTP", function()
  local NOW = 1795000000 -- 2026
  local function date(text) return probe.date(text, NOW) end

  it("is printed as it is read, whatever day it is", function()
    for seconds = 0, 253402300799, 86400 * 367 + 3671 do
      local text = probe.print_date(seconds)
      assert.equal(os.date("!%a, %d %b %Y %H:%M:%S GMT", seconds), text)
      assert.equal(seconds, date(text))
    end
    assert.equal("Fri, 31 Dec 9999 23:59:59 GMT", probe.print_date(253402300799))
  end)

  it("is read in its three forms", function()
    assert.equal(784111777, date("Sun, 06 Nov 1994 08:49:37 GMT"))
    assert.equal(784111777, date("Sunday, 06-Nov-94 08:49:37 GMT"))
    assert.equal(784111777, date("Sun Nov  6 08:49:37 1994"))
    assert.equal(784975777, date("Wed Nov 16 08:49:37 1994"))
  end)

  it("counts leap years", function()
    assert.equal(0, date("Thu, 01 Jan 1970 00:00:00 GMT"))
    assert.equal(951782400, date("Tue, 29 Feb 2000 00:00:00 GMT"))
    assert.equal(951868800, date("Wed, 01 Mar 2000 00:00:00 GMT"))
    assert.equal(4107542400, date("Mon, 01 Mar 2100 00:00:00 GMT"))
    assert.equal(-86400, date("Wed, 31 Dec 1969 00:00:00 GMT"))
    assert.equal(253402300799, date("Fri, 31 Dec 9999 23:59:59 GMT"))
  end)

  it("takes a year of two digits for one of the fifty to come, or the last such", function()
    assert.equal(date("Tue, 01 Jan 2030 00:00:00 GMT"), date("Tuesday, 01-Jan-30 00:00:00 GMT"))
    assert.equal(date("Fri, 01 Jan 2027 00:00:00 GMT"), date("Friday, 01-Jan-27 00:00:00 GMT"))
    assert.equal(date("Wed, 01 Jan 2076 00:00:00 GMT"), date("Wednesday, 01-Jan-76 00:00:00 GMT"))
    assert.equal(date("Sat, 01 Jan 1977 00:00:00 GMT"), date("Saturday, 01-Jan-77 00:00:00 GMT"))
  end)

  it("is nothing when a character is wrong", function()
    local good = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert.is_nil(date(""))
    for i = 1, #good do
      assert.is_nil(date(good:sub(1, i - 1)), "the first " .. i - 1)
      assert.is_nil(date(good:sub(1, i - 1) .. "\1" .. good:sub(i + 1)), "at " .. i)
    end
    for _, text in ipairs({ good .. " ", " " .. good, "Sun, 06 Nov 1994 24:00:00 GMT",
      "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 31 Nov 1994 08:49:37 GMT",
      "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 UTC",
      "sun, 06 nov 1994 08:49:37 gmt", "Sunday, 06 Nov 1994 08:49:37 GMT", "Monday, 06-Nov-1994 08:49:37 GMT",
      "Sun Nov 6 08:49:37 1994", "1994-11-06T08:49:37Z", "0", "784111777" }) do
      assert.is_nil(date(text), text)
    end
  end)
end)

describe("a condition (B22)", function()
  local T = 784111777
  local AT, BEFORE, AFTER = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT",
    "Sun, 06 Nov 1994 08:49:38 GMT"

  local function ask(fields, etag, modified)
    return probe.conditions("GET / HTTP/1.1\r\nHost: a\r\n" .. fields:gsub("\n", "\r\n") .. "\r\n",
      etag or '"v1"', modified == nil and T or modified or nil, T + 1000)
  end

  local function assert_rows(rows)
    for _, row in ipairs(rows) do
      assert.equal(row[1], (ask(row[2], row[3], row[4])), row[2])
    end
  end

  it("If-Match holds for any that exists, or for this tag by the strong comparison", function()
    assert_rows({
      { 0, "If-Match: *\n" }, { 0, 'If-Match: "v1"\n' }, { 0, 'If-Match: "v0", "v1"\n' },
      { 0, 'If-Match: "v0"\nIf-Match: "v1"\n' }, { 412, 'If-Match: "v0"\n' },
      { 412, 'If-Match: W/"v1"\n' }, { 412, 'If-Match: "v1"\n', 'W/"v1"' }, { 412, "If-Match: v1\n" },
      { 412, "If-Match:\n" }, { 412, 'If-Match: "v1"\n', "" }, { 0, "If-Match: *\n", "" },
      { 412, 'If-Match: "v0" "v1"\n' },
    })
  end)

  it("If-None-Match fails for any that exists, or for this tag by the weak comparison", function()
    assert_rows({
      { 304, "If-None-Match: *\n" }, { 304, 'If-None-Match: "v1"\n' }, { 304, 'If-None-Match: W/"v1"\n' },
      { 304, 'If-None-Match: "v1"\n', 'W/"v1"' }, { 304, 'If-None-Match: "a","b" ,\t"v1"\n' },
      { 304, 'If-None-Match: "a"\nIf-None-Match: , "v1"\n' }, { 0, 'If-None-Match: "v0"\n' },
      { 304, 'If-None-Match: "a,b", "v1"\n' }, { 0, 'If-None-Match: "a, \n' }, { 0, "If-None-Match: v1\n" },
      { 0, 'If-None-Match: "v1"\n', "" }, { 0, 'If-None-Match: w/"v1"\n' }, { 0, 'If-None-Match: "V1"\n' },
    })
  end)

  it("of a date is compared to the second", function()
    assert_rows({
      { 304, "If-Modified-Since: " .. AT .. "\n" }, { 304, "If-Modified-Since: " .. AFTER .. "\n" },
      { 0, "If-Modified-Since: " .. BEFORE .. "\n" }, { 0, "If-Unmodified-Since: " .. AT .. "\n" },
      { 0, "If-Unmodified-Since: " .. AFTER .. "\n" }, { 412, "If-Unmodified-Since: " .. BEFORE .. "\n" },
    })
  end)

  it("of a date that is none, or said twice, or with nothing to compare, is ignored", function()
    assert_rows({
      { 0, "If-Modified-Since: yesterday\n" }, { 0, "If-Unmodified-Since: yesterday\n" },
      { 0, ("If-Modified-Since: %s\nIf-Modified-Since: %s\n"):format(AT, AT) },
      { 0, "If-Modified-Since: " .. AT .. "\n", '"v1"', false },
      { 0, "If-Unmodified-Since: " .. BEFORE .. "\n", '"v1"', false },
    })
  end)

  it("comes in the order of RFC 9110, 13.2.2", function()
    assert_rows({
      { 0, 'If-Match: "v1"\nIf-Unmodified-Since: ' .. BEFORE .. "\n" },
      { 412, 'If-Match: "v0"\nIf-Unmodified-Since: ' .. AFTER .. "\n" },
      { 412, 'If-Match: "v0"\nIf-None-Match: "v1"\n' },
      { 304, 'If-Match: "v1"\nIf-None-Match: "v1"\n' },
      { 0, 'If-None-Match: "v0"\nIf-Modified-Since: ' .. AFTER .. "\n" },
      { 304, 'If-None-Match: "v1"\nIf-Modified-Since: ' .. BEFORE .. "\n" },
      { 412, ("If-Unmodified-Since: %s\nIf-Modified-Since: %s\n"):format(BEFORE, AFTER) },
      { 304, ("If-Unmodified-Since: %s\nIf-Modified-Since: %s\n"):format(AFTER, AFTER) },
    })
  end)

  it("If-Range lets the range count for the same representation only", function()
    local function range(condition, ...) return select(2, ask("Range: bytes=0-1\n" .. condition, ...)) end
    assert.equal("bytes=0-1", range(""))
    assert.equal("bytes=0-1", range('If-Range: "v1"\n'))
    assert.equal("bytes=0-1", range("If-Range: " .. AT .. "\n"))
    assert.equal("bytes=0-1", range("If-Range: Sunday, 06-Nov-94 08:49:37 GMT\n"))
    for _, condition in ipairs({ 'If-Range: "v0"\n', 'If-Range: W/"v1"\n', "If-Range: v1\n", "If-Range: *\n",
      'If-Range: "v1", "v0"\n', 'If-Range: "v1"\nIf-Range: "v1"\n', "If-Range:\n",
      "If-Range: " .. AFTER .. "\n", "If-Range: " .. BEFORE .. "\n" }) do
      assert.is_nil(range(condition), condition)
    end
    assert.is_nil(range('If-Range: W/"v1"\n', 'W/"v1"'))
    assert.is_nil(range("If-Range: " .. AT .. "\n", '"v1"', false))
    assert.is_nil(range("Range: bytes=5-6\n"))
  end)

  it("knows an entity-tag", function()
    for _, text in ipairs({ '""', '"a"', 'W/"a"', '"a!#~"', '"\xc3\xa9"' }) do
      assert.is_true(probe.is_etag(text), text)
    end
    for _, text in ipairs({ "", "a", '"', '"a', 'a"', '"a""b"', 'w/"a"', 'W/a', 'W/', '"a b"', '"a\1"',
      '"a"\n', ' "a"' }) do
      assert.is_false(probe.is_etag(text), text)
    end
  end)
end)

describe("the name of a download (RFC 6266)", function()
  local function name(text) return (probe.disposition(text):gsub("^attachment", "")) end

  it("is quoted, and said as UTF-8 where that is not enough", function()
    assert.equal('; filename="report 1.pdf"', name("report 1.pdf"))
    assert.equal([[; filename="a\"b\\c"; filename*=UTF-8''a%22b%5Cc]], name([[a"b\c]]))
    assert.equal([[; filename="_ rates.txt"; filename*=UTF-8''%E2%82%AC%20rates.txt]], name("€ rates.txt"))
    assert.equal([[; filename="100%.txt"; filename*=UTF-8''100%25.txt]], name("100%.txt"))
    assert.equal([[; filename="_"; filename*=UTF-8''%F0%9F%8C%8A]], name("🌊"))
  end)

  it("has no folders, line breaks or bytes that are no text", function()
    assert.equal('; filename="passwd"', name("../../etc/passwd"))
    assert.equal('; filename="a__b"', name("a\r\nb"))
    assert.equal([[; filename="a_b"; filename*=UTF-8''a_b]], name("a\xffb"))
    assert.equal([[; filename="a__"; filename*=UTF-8''a__]], name("a\xe2\x82"))
    assert.equal([[; filename="__"; filename*=UTF-8''__]], name("\xc0\xaf"))
    for _, bad in ipairs({ "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\xaf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80" }) do
      local gaps = ("_"):rep(#bad)
      assert.equal(('; filename="%s"; filename*=UTF-8\'\'%s'):format(gaps, gaps), name(bad))
    end
    assert.equal("", name("a/"))
  end)

  it("is left out of a line that would be longer than any should be", function()
    assert.is_nil(probe.disposition(("x"):rep(5000)))
  end)
end)

describe("a media type (B22)", function()
  local path

  setup(function() path = os.tmpname() end)
  teardown(function() os.remove(path) end)

  local function types(text)
    local file <close> = assert(io.open(path, "wb"))
    file:write(text)
  end

  it("is that of the extension in the system's file, texts with their charset", function()
    types("# a comment\n\ntext/plain\t\tasc txt # more\r\napplication/x-a aa\ntext/xml xml\nmodel/none\n")
    assert.equal("text/plain; charset=utf-8", probe.media_type("/a.b/c.TXT", path))
    assert.equal("application/x-a", probe.media_type("c.aa", path))
    assert.equal("text/xml", probe.media_type("c.xml", path))
  end)

  it("is the first of several", function()
    types("a/first x\na/second x y\na/third y\n")
    assert.equal("a/first", probe.media_type("c.x", path))
    assert.equal("a/second", probe.media_type("c.y", path))
  end)

  it("is our own where the system has none", function()
    types("a/b c\n")
    assert.equal("text/html; charset=utf-8", probe.media_type("index.html", path))
    assert.equal("text/html; charset=utf-8", probe.media_type("index.HTML"))
    assert.equal("image/png", probe.media_type("a.tar.png", "/nonexistent"))
  end)

  it("is that of bytes where nobody knows one", function()
    for _, name in ipairs({ "x", "x.", "x.qqqq", ".html/x", "", "/" }) do
      assert.equal("application/octet-stream", probe.media_type(name), name)
    end
  end)

  it("is not read from what is no file, too large, or no line that can be sent", function()
    for _, other in ipairs({ "/tmp", "/dev/zero", "/nonexistent" }) do
      assert.is_false(select(2, probe.media_type("x", other)), other)
    end
    types(("a/b c\n"):rep(200000))
    assert.is_false(select(2, probe.media_type("x", path)))
    types("a/\1 c\nd/e f")
    assert.equal("application/octet-stream", probe.media_type("x.c", path))
    assert.equal("d/e", probe.media_type("x.f", path))
  end)
end)
