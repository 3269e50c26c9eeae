-- wire_rows.lua - requests that servers have disagreed on, and what is to become of each.
--
-- A row: { name =, bytes =, statuses = of the responses when the bytes are followed by rows.MARK,
-- status = the first of them, ends = "open" | "close" of the connection, bodies = what the handlers
-- read, targets = what they were called with, rest = bytes that end a body which has taken MARK,
-- note = why, where it is policy }.
local MARK = "GET /MARK HTTP/1.1\r\nHost: a\r\n\r\n"

local rows = { MARK = MARK }

local function add(name, bytes, statuses, ends, more)
  local row = { name = name, bytes = bytes, statuses = statuses, status = statuses[1], ends = ends }
  for key, value in pairs(more or {}) do row[key] = value end
  rows[#rows + 1] = row
end

local function taken(name, bytes, body, target, note)
  add(name, bytes, { 200, 200 }, "open", {
    bodies = { body or "", "" }, targets = { target or "/x", "/MARK" }, note = note,
  })
end

local function refused(name, bytes, status, note)
  add(name, bytes, { status or 400 }, "close", { bodies = {}, targets = {}, note = note })
end

-- The declared body is MARK and what the row calls rest: nothing is answered before that has come,
-- and MARK never.
local function swallowed(name, bytes, rest)
  add(name, bytes, { 200 }, "open", { bodies = { MARK .. rest }, targets = { "/x" }, rest = rest })
end

local function message(method, target, version, fields, body)
  return ("%s %s %s\r\n%s\r\n%s"):format(method, target, version, fields, body or "")
end

local function post(fields, body)
  return message("POST", "/x", "HTTP/1.1", "Host: a\r\n" .. fields, body)
end
local function get(fields) return message("GET", "/x", "HTTP/1.1", fields) end
local function target(text) return message("GET", text, "HTTP/1.1", "Host: a\r\n") end
local function version(text) return message("GET", "/x", text, "Host: a\r\n") end
local function method(text) return message(text, "/x", "HTTP/1.1", "Host: a\r\n") end
local function chunked(body) return post("Transfer-Encoding: chunked\r\n", body) end
local function length(value) return post("Content-Length:" .. value .. "\r\n", "hello") end
local function coding(value)
  return post("Transfer-Encoding:" .. value .. "\r\n", "5\r\nhello\r\n0\r\n\r\n")
end

local HELLO = "5\r\nhello\r\n0\r\n\r\n"
local TE, CL = "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"

-- Lengths ----------------------------------------------------------------------------------------

taken("baseline CL", length(" 5"), "hello")
taken("baseline chunked", chunked(HELLO), "hello")
refused("TE chunked + CL", post(TE .. CL, HELLO))
refused("CL then TE order", post(CL .. TE, HELLO))
refused("dup CL same", post(CL .. CL, "hello"))
refused("dup CL differing 5/0", post(CL .. "Content-Length: 0\r\n", "hello"))
refused("dup CL differing 0/5", post("Content-Length: 0\r\n" .. CL, "hello"))
refused('CL list "5, 5"', length(" 5, 5"))
refused("CL +5", length(" +5"))
refused("CL -5", length(" -5"))
refused("CL -0", length(" -0"))
refused("CL 0x5", length(" 0x5"))
taken('CL "5 " trailing sp', length(" 5 "), "hello")
taken("CL tab 5", length("\t5"), "hello")
refused("CL VT 5", length("\v5"))
refused("CL 5 5", length(" 5 5"))
refused("CL empty", length(""))
taken("CL 005", length(" 005"), "hello")
refused("CL overflow 2^64+5", length(" 18446744073709551621"))
refused("CL 2^63-1", length(" 9223372036854775807"))
refused("CL NUL: 5\\0x", length(" 5\0x"))
taken("CL_ underscore", post("Content_Length: 5\r\n"))
refused("CL space before colon", post("Content-Length : 5\r\n", "hello"))

-- Codings ----------------------------------------------------------------------------------------

refused("TE space before colon", post("Transfer-Encoding : chunked\r\n", HELLO))
refused("TE tab before colon", post("Transfer-Encoding\t: chunked\r\n", HELLO))
refused("TE leading-space header name (obs-fold)", post(" " .. TE, HELLO))
refused("TE folded", coding("\r\n chunked"), 501, "an empty coding comes before the fold")
refused("CL folded", length("\r\n 5"))
refused("TE identity", coding(" identity"), 501)
refused("TE gzip (no chunked)", coding(" gzip"), 501)
refused("TE gzip, chunked", coding(" gzip, chunked"), 501)
refused("TE chunked, identity", coding(" chunked, identity"), 501)
refused("TE xchunked", coding(" xchunked"), 501)
refused("TE \\x0bchunked", coding(" \vchunked"))
refused('TE "chunked"', coding(' "chunked"'), 501)
refused("TE chunked\\0x", coding(" chunked\0x"))
refused("TE chunked;foo", coding(" chunked;foo"), 501)
refused("TE dup chunked chunked", post(TE .. TE, HELLO))
refused("TE dup identity,chunked", post("Transfer-Encoding: identity\r\n" .. TE, HELLO), 501)
refused("TE empty + CL", post("Transfer-Encoding:\r\n" .. CL, "hello"), 501)
refused("TE chunked HTTP/1.0", message("POST", "/x", "HTTP/1.0", "Host: a\r\n" .. TE, HELLO))

-- Bodies where few expect them -------------------------------------------------------------------

local function with_body(name)
  return message(name, "/x", "HTTP/1.1", ("Host: a\r\nContent-Length: %d\r\n"):format(#MARK + 2))
end
swallowed("HEAD with CL 33 (body = request)", with_body("HEAD"), "xx")
swallowed("TRACE with CL", with_body("TRACE"), "xx")
swallowed("PROPFIND with CL", with_body("PROPFIND"), "xx")
taken("GET with CL", get("Host: a\r\n" .. CL) .. "hello", "hello")
taken("POST no CL no TE", post(""))
add("POST no CL, Connection: close", post("Connection: close\r\n"), { 200 }, "close",
  { bodies = { "" }, targets = { "/x" } })

-- Chunks -----------------------------------------------------------------------------------------

taken("chunk ext ;a=b", chunked("5;a=b\r\nhello\r\n0\r\n\r\n"), "hello")
refused("chunk size +5", chunked("+5\r\nhello\r\n0\r\n\r\n"))
refused("chunk size 0x5", chunked("0x5\r\nhello\r\n0\r\n\r\n"))
refused('chunk size " 5"', chunked(" 5\r\nhello\r\n0\r\n\r\n"))
refused('chunk size "5 junk"', chunked("5 junk\r\nhello\r\n0\r\n\r\n"))
refused('chunk size " junk" => last chunk?', chunked(" junk\r\n\r\n"))
refused("chunk size 5\\0x", chunked("5\0x\r\nhello\r\n0\r\n\r\n"))
refused("chunk size -1", chunked("-1\r\nhello\r\n0\r\n\r\n"))
refused("chunk size 2^64", chunked("10000000000000000\r\nhello\r\n0\r\n\r\n"))
refused("chunk bare LF", chunked("5\nhello\n0\n\n"))
refused("chunk data w/o CRLF", chunked("5\r\nhello5\r\nworld\r\n0\r\n\r\n"))
refused("chunk extra blank lines", chunked("5\r\nhello\r\n\r\n0\r\n\r\n"))
taken('chunk "0" "00"', chunked("5\r\nhello\r\n00\r\n\r\n"), "hello")
taken("trailer X + CL", chunked("5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 3\r\n\r\n"), "hello")
refused("trailer malformed (no colon)", chunked("5\r\nhello\r\n0\r\nnocolon\r\n\r\n"))
refused("trailer obs-fold first", chunked("5\r\nhello\r\n0\r\n X: y\r\n\r\n"))

-- Line ends --------------------------------------------------------------------------------------

refused("bare LF everywhere", "GET /x HTTP/1.1\nHost: a\n\n")
refused("bare CR in value", get("Host: a\r\nX: a\rb\r\n"))
refused("bare CR as line end", "GET /x HTTP/1.1\rHost: a\r\r")
refused("CR CR LF", "GET /x HTTP/1.1\r\r\nHost: a\r\r\n\r\r\n")
taken("leading CRLF before request", "\r\n" .. get("Host: a\r\n"))
refused("leading LF", "\n" .. get("Host: a\r\n"))
taken("extra CRLF after POST body", length(" 5") .. "\r\n", "hello")

-- Field lines ------------------------------------------------------------------------------------

refused("header name with space", get("Host: a\r\nX Y: z\r\n"))
refused("empty header name", get("Host: a\r\n: z\r\n"))
refused("no colon line", get("Host: a\r\nnocolon\r\n"))
refused("ctl in name", get("Host: a\r\nX\1Y: z\r\n"))
refused("8bit in name", get("Host: a\r\nX\xffY: z\r\n"))
refused("NUL in name", get("Host: a\r\nX\0Y: z\r\n"))
refused("NUL in value", get("Host: a\r\nX: y\0z\r\n"))
refused("ctl in value", get("Host: a\r\nX: y\1z\r\n"))
refused("first header starts with space", get(" X: y\r\nHost: a\r\n"))
refused("obs-fold", get("Host: a\r\nX: y\r\n z\r\n"))

-- Host and target --------------------------------------------------------------------------------

local function absolute(uri, host)
  return message("GET", uri, "HTTP/1.1", ("Host: %s\r\n"):format(host))
end
refused("no Host 1.1", get(""))
refused("two Hosts", get("Host: a\r\nHost: a\r\n"))
refused('Host invalid "a b/@"', get("Host: a b/@\r\n"))
taken("Host empty", get("Host:\r\n"))
refused("Host : a", get("Host : a\r\n"))
refused("absolute-form, other Host", absolute("http://evil.example/x", "a"), 400,
  "policy: the authority agrees with Host")
refused("absolute-form userinfo", absolute("http://u:p@evil.example:99/x", "evil.example:99"), 400,
  "policy: no user information")
refused("absolute-form ftp://", absolute("ftp://evil.example/x", "evil.example"))
taken("absolute keep-alive? (Proxy-Connection)",
  message("GET", "http://evil.example/x", "HTTP/1.1",
    "Host: evil.example\r\nProxy-Connection: keep-alive\r\n"), "", "http://evil.example/x")
taken("asterisk OPTIONS *", message("OPTIONS", "*", "HTTP/1.1", "Host: a\r\n"), "", "*")
refused("asterisk GET *", target("*"), 400, "policy: '*' is for OPTIONS")
refused("authority CONNECT", message("CONNECT", "a:443", "HTTP/1.1", "Host: a:443\r\n"))
taken("CONNECT /path", method("CONNECT"))
refused("no-slash target", target("x"))
taken("// target", target("//evil/x"), "", "//evil/x")
refused("fragment in target", target("/x#frag"))
refused("space in target", target("/x y"))
refused("ctl in target", target("/x\1y"))
refused("8bit in target", target("/x\xffy"))
refused("NUL in target", target("/x\0y"))
taken("%00 in target", target("/x%00y"), "", "/x%00y")

-- The rest of the request line -------------------------------------------------------------------

refused("tab separated", "GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n")
refused("two spaces", "GET  /x  HTTP/1.1\r\nHost: a\r\n\r\n")
refused("trailing spaces after version", version("HTTP/1.1  "), 505)
refused("HTTP/0.9 simple", "GET /x\r\n")
taken("HTTP/1.2", version("HTTP/1.2"), "", "/x", "policy: a later minor is 1.1")
refused("HTTP/2.0", version("HTTP/2.0"), 505)
refused("HTTP/-1.-1", version("HTTP/-1.-1"), 505)
refused("HTTP/1.+1", version("HTTP/1.+1"), 505)
refused("HTTP/01.01", version("HTTP/01.01"), 505)
refused("http/1.1 lower", version("http/1.1"))
refused("HTTP/1.999999999", version("HTTP/1.999999999"), 505)
taken("get lower", method("get"))
refused("G@T", method("G@T"))
refused("h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)

-- Beyond the table -------------------------------------------------------------------------------

rows.TABLE = #rows

taken("HTTP/1.9", version("HTTP/1.9"))
refused("HTTP/1.10", version("HTTP/1.10"), 505)
refused("ctl after version", version("HTTP/1.1\1"))
refused("tab after version", version("HTTP/1.1\t"))
refused("NUL after version", version("HTTP/1.1\0"))
refused("bare CR after version", version("HTTP/1.1\rX: y"))
refused("CL of 19 digits", length(" 0000000000000000005"))
refused("TE trailing comma", coding(" chunked,"), 501)
taken("TE in capitals", coding(" CHUNKED"), "hello")
refused("Expect something else", post("Expect: 200-ok\r\n" .. CL, "hello"), 417)
refused("method of 33 bytes", method(("M"):rep(33)), 501)
taken("method of 32 bytes", method(("M"):rep(32)))
taken("absolute-form that agrees", absolute("HTTP://A:80/x?q", "a:80"), "", "HTTP://A:80/x?q")
refused("absolute-form without its port in Host", absolute("http://a:80/x", "a"))
refused("absolute-form, empty Host", absolute("http://a/x", ""))
refused("absolute-form of no host", absolute("http:///x", ""))
refused("absolute-form cut short", absolute("http://", "a"))
taken("absolute-form, empty path", absolute("http://a", "a"), "", "http://a")
taken("absolute-form, only a query", absolute("http://a?q", "a"), "", "http://a?q")
refused("CONNECT without a port", message("CONNECT", "a", "HTTP/1.1", "Host: a\r\n"))
refused("OPTIONS **", message("OPTIONS", "**", "HTTP/1.1", "Host: a\r\n"))
refused("options *", message("options", "*", "HTTP/1.1", "Host: a\r\n"))
refused("Host with user information", get("Host: u@a\r\n"))
refused("Host list", get("Host: a, b\r\n"))
refused("Host with a bad escape", get("Host: a%2\r\n"))
refused("Host with an escaped NUL", get("Host: a%00\r\n"))
refused("Host with port 65536", get("Host: a:65536\r\n"))
refused("Host with a port of six digits", get("Host: a:000080\r\n"))
refused("Host of a port alone", get("Host: :80\r\n"))
refused("Host [zz]", get("Host: [zz]\r\n"))
refused("Host [::1", get("Host: [::1\r\n"))
refused("Host [::1]x", get("Host: [::1]x\r\n"))
refused("Host []", get("Host: []\r\n"))
refused("Host with a port that is no number", get("Host: a:x\r\n"))
taken("Host [::1]:80", get("Host: [::1]:80\r\n"))
taken("Host with an empty port", get("Host: a:\r\n"))
taken("two blank lines first", "\r\n\r\n" .. get("Host: a\r\n"))
refused("three blank lines first", "\r\n\r\n\r\n" .. get("Host: a\r\n"))
refused("blank line, then LF", "\r\n\n" .. get("Host: a\r\n"))
refused("DEL in value", get("Host: a\r\nX: y\127z\r\n"))
taken("8bit in value", get("Host: a\r\nX: caf\xc3\xa9\r\n"))
refused("a second Host in other case", get("Host: a\r\nhOST: a\r\n"))
refused("chunk ext with a bare LF", chunked("5;\nhello\r\n0\r\n\r\n"))
refused("chunk ext with a bare CR", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"))
refused("chunk size behind white space", chunked("5 ;a=b\r\nhello\r\n0\r\n\r\n"))
refused("chunk without a size", chunked("\r\nhello\r\n0\r\n\r\n"))
refused("chunk ext without a size", chunked(";a=b\r\n\r\n"))
refused("chunk data longer than said", chunked("4\r\nhello\r\n0\r\n\r\n"))
refused("trailer with NUL", chunked("0\r\nX: \0\r\n\r\n"))
refused("trailer with a bare LF", chunked("0\r\nX: y\n\r\n"))
refused("trailer with white space before colon", chunked("0\r\nX : y\r\n\r\n"))
refused("bare LF behind the last chunk", chunked("0\r\n\n"))
add("Connection: close in a list", get("Host: a\r\nConnection: x, Close\r\n"), { 200 }, "close",
  { bodies = { "" }, targets = { "/x" } })
add("Connection: close in a second line",
  get("Host: a\r\nConnection: keep-alive\r\nconnection: close\r\n"), { 200 }, "close",
  { bodies = { "" }, targets = { "/x" } })
taken("Connection: closer", get("Host: a\r\nConnection: closer, not-close\r\n"))
add("HTTP/1.0 keep-alive", message("GET", "/x", "HTTP/1.0", "Connection: keep-alive\r\n"), { 200 },
  "close", { bodies = { "" }, targets = { "/x" } })

return rows
