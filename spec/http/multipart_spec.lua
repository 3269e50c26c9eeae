-- tg.multipart: forms with files, as streams.
local cjson = require("cjson")
local curl = require("curl")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local catch = tg.on_error({ handle = function(_, err) return { status = err.status, body = err.message } end })
return {
  limits = { body_bytes = 0, script = 0 },
  interceptors = { catch },
  routes = {
    { "/all", post = function(request)
      local parts = {}
      for part in tg.multipart(request) do
        parts[#parts + 1] = { name = part.name, filename = part.filename, type = part.content_type,
          text = part:all(), again = part:read() or "over", extra = part.headers["x-extra"] }
      end
      return { body = tg.json.array(parts) }
    end },
    { "/sizes", post = function(request)
      local sizes = {}
      for part in tg.multipart(request) do
        local bytes = 0
        for chunk in part:chunks() do bytes = bytes + #chunk end
        sizes[part.name] = bytes
      end
      return { body = sizes }
    end },
    { "/names", post = function(request)
      local names = {}
      for part in tg.multipart(request, { max_parts = 3 }) do names[#names + 1] = part.name end
      return { body = table.concat(names, " ") }
    end },
    { "/second", post = function(request)
      for part in tg.multipart(request) do
        if part.name == "second" then return { headers = { ["Content-Type"] = part.content_type }, body = part } end
      end
    end },
    { "/small", post = function(request)
      for part in tg.multipart(request) do part:all(10) end
      return { body = "fine" }
    end },
  },
}
]]

local FORM = '--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\nhello\r\n'
  .. '--xyz  \r\ncontent-disposition: form-data; name="f\\"\\\\"; filename="b\xc3\xa9.txt"\r\nContent-Type: text/html\r\nX-Extra: 1\r\n\r\n'
  .. "\r\n--xy\r\n\n--xyz\n--xy z\r\n\r\n--xyz\r\nContent-Disposition: form-data; name=empty\r\n\r\n\r\n--xyz--\r\nepilogue"

describe("tg.multipart", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function post(path, form, type)
    return raw.request(s.port, ("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"):format(
      path, type or "multipart/form-data; boundary=xyz", #form, form), 10)
  end

  local EXPECTED = {
    { name = "a", type = "text/plain", text = "hello", again = "over" },
    { name = 'f"\\', filename = "bé.txt", type = "text/html", extra = "1", again = "over",
      text = "\r\n--xy\r\n\n--xyz\n--xy z\r\n" },
    { name = "empty", type = "text/plain", text = "", again = "over" },
  }

  it("gives the parts with their names, types and fields (B79)", function()
    assert.same(EXPECTED, cjson.decode(post("/all", FORM).body))
  end)

  it("gives names as they were before browsers escaped them, and no others (B79)", function()
    local form = '--xyz\r\nContent-Disposition: form-data; name="a%22%0D%0Ab"; filename="100%25 %41%2.txt"\r\n\r\n\r\n--xyz--'
    local part = cjson.decode(post("/all", form).body)[1]
    assert.same({ 'a"\r\nb', "100%25 %41%2.txt" }, { part.name, part.filename })
    assert.same(EXPECTED, cjson.decode(post("/all", "preamble\r\n" .. FORM, 'multipart/form-data; x="a;b"; boundary="xyz"').body))
  end)

  it("finds boundaries wherever the bytes are split (B79)", function()
    for size = 1, 9 do
      local c <close> = assert(raw.connect(s.port))
      c:send("POST /all HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=xyz\r\nTransfer-Encoding: chunked\r\n\r\n")
      for at = 1, #FORM, size do
        local piece = FORM:sub(at, at + size - 1)
        c:send(("%x\r\n%s\r\n"):format(#piece, piece))
      end
      c:send("0\r\n\r\n")
      assert.same(EXPECTED, cjson.decode(c:read_response(10).body), "pieces of " .. size)
    end
  end)

  it("reads what curl sends (B79)", function()
    server.write(s.dir .. "/up.txt", ("line\r\n--\r\n"):rep(20000))
    local result = curl.run({ "-F", "first=1", "-F", "file=@" .. s.dir .. "/up.txt", "-F", "last=2", s.url .. "/sizes" })
    assert.same({ first = 1, file = 200000, last = 1 }, cjson.decode(result.stdout))
  end)

  it("passes over what is not read, and lets a part be a response's body", function()
    assert.equal("a f\"\\ empty", post("/names", FORM).body)
    local result = curl.run({ "-F", "first=@Makefile", "-F", "second=@README.md;type=text/markdown", s.url .. "/second" })
    assert.equal(server.read("README.md"), result.stdout)
  end)

  it("streams a part of a GiB in flat memory (B79)", function()
    if server.sanitized then return end
    local path = s.dir .. "/big"
    local file <close> = assert(io.open(path, "w"))
    file:seek("set", (1 << 30) - 1)
    file:write("x")
    file:flush()
    curl.run({ "-F", "x=@Makefile", s.url .. "/sizes" })
    local before = s:hwm()
    local result = curl.run({ "--max-time", "120", "-F", "big=@" .. path, s.url .. "/sizes" })
    assert.same({ big = 1 << 30 }, cjson.decode(result.stdout))
    assert.is_true(s:hwm() - before < 4096, s:hwm() - before)
    os.remove(path)
  end)

  for what, case in pairs({
    ["no form with 415"] = { 415, FORM, "text/plain" },
    ["no boundary with 400"] = { 400, FORM, "multipart/form-data" },
    ["a boundary that is none with 400"] = { 400, FORM, "multipart/form-data; boundary=\"" .. ("x"):rep(71) .. '"' },
    ["a form without an end with 400"] = { 400, FORM:sub(1, -15) },
    ["a form without a boundary with 400"] = { 400, "nothing" },
    ["a field without a name with 400"] = { 400, "--xyz\r\nno field\r\n\r\n--xyz--" },
    ["a field with a NUL with 400"] = { 400, "--xyz\r\nA: \0\r\n\r\n--xyz--" },
    ["a folded field with 400"] = { 400, "--xyz\r\nA: b\r\n c\r\n\r\n--xyz--" },
    ["too large a head with 400"] = { 400, "--xyz\r\nA: " .. ("b"):rep(9000) .. "\r\n\r\n--xyz--" },
    ["a head without an end with 400"] = { 400, "--xyz\r\n" .. ("A: b\r\n"):rep(3000) },
    ["too many fields with 400"] = { 400, "--xyz\r\n" .. ("A: b\r\n"):rep(33) .. "\r\n\r\n--xyz--" },
    ["what follows a boundary with 400"] = { 400, "--xyz!\r\n\r\n\r\n--xyz--" },
    ["padding without an end with 400"] = { 400, "--xyz" .. (" "):rep(300) .. "\r\n\r\n--xyz--" },
  }) do
    it("refuses " .. what, function()
      assert.equal(case[1], post("/all", case[2], case[3]).status)
    end)
  end

  it("refuses more parts than it may take, and a part that is too large", function()
    assert.equal(400, post("/names", ("--xyz\r\n\r\nx\r\n"):rep(4) .. "--xyz--").status)
    assert.equal(413, post("/small", "--xyz\r\n\r\n" .. ("x"):rep(11) .. "\r\n--xyz--").status)
    assert.equal("fine", post("/small", "--xyz\r\n\r\n" .. ("x"):rep(10) .. "\r\n--xyz--").body)
  end)

  it("ends with its client (B13)", function()
    local before = s:fds()
    for _ = 1, 10 do
      local c = assert(raw.connect(s.port))
      c:send("POST /all HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=xyz\r\nContent-Length: 900\r\n\r\n--xyz\r\n\r\npart")
      c:reset()
    end
    server.eventually(function() return s:fds() <= before end)
  end)
end)
