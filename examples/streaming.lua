-- What can be a body, and how it is streamed.  Try:
-- curl http://127.0.0.1:8080/
-- curl http://127.0.0.1:8080/range?limit=10
-- curl -N http://127.0.0.1:8080/slow
-- curl -N http://127.0.0.1:8080/countdown
-- curl http://127.0.0.1:8080/file
-- curl http://127.0.0.1:8080/table
-- curl -H 'Accept: application/x-ndjson' http://127.0.0.1:8080/range?limit=3
-- curl http://127.0.0.1:8080/drawing
-- curl http://127.0.0.1:8080/words
-- curl -T README.md http://127.0.0.1:8080/echo

local tg = require("tidegate")

--- A lazy sequence: no more of it is made than the client reads.
local function range(request)
  local limit = math.tointeger(request.query.limit) or 10
  return {
    body = tg.generate(function(yield)
      for i = 0, limit - 1 do
        yield(i)
      end
    end),
  }
end

--- A lazy sequence with pauses: each element is sent before its producer sleeps.
local function slow()
  return {
    headers = { ["Content-Type"] = "application/x-ndjson" },
    body = tg.generate(function(yield)
      for i = 1, 8 do
        tg.sleep(0.12)
        yield({ step = i, at = tg.now() })
      end
    end),
  }
end

--- A function is given a writer.
local function countdown()
  return {
    headers = { ["Content-Type"] = "text/plain; charset=utf-8" },
    body = function(out)
      for i = 3, 1, -1 do
        out:write(i, " …\n")
        tg.sleep(0.3)
      end
      out:write("the gate opens\n")
    end,
  }
end

--- A file goes out by sendfile.
local source = debug.getinfo(1, "S").source:sub(2)
local function file()
  return { body = tg.file(source) }
end

--- A table prints as JSON, with lazy parts in it streamed in place.
local function tree()
  return {
    body = {
      title = "a table with a lazy sequence in it",
      squares = tg.generate(function(yield)
        for i = 1, 5 do
          yield(i * i)
        end
      end),
      nested = { list = { 1, 2.5, "three" }, empty = {} },
    },
  }
end

--- An object that writes itself.
local Drawing = {
  __content_type = "image/svg+xml",
  __write_body = function(self, out)
    out:write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">\n')
    for _, radius in ipairs(self) do
      out:write('  <circle cx="50" cy="50" r="', radius, '" fill="none" stroke="teal"/>\n')
    end
    out:write("</svg>\n")
  end,
}

local function drawing()
  return { body = setmetatable({ 10, 20, 30, 40 }, Drawing) }
end

--- Any Lua iterator is a sequence.
local function words()
  return {
    headers = { ["Content-Type"] = "text/plain; charset=utf-8" },
    body = tg.seq(("a tide gate shuts by itself when the tide turns"):gmatch("%a+")),
  }
end

--- A request's body is a stream, too.
local function echo(request)
  return {
    headers = { ["Content-Type"] = request.headers["Content-Type"] or "application/octet-stream" },
    body = request.body,
  }
end

local function index()
  return "see the top of examples/streaming.lua\n"
end

return {
  listen = "127.0.0.1:8080",
  routes = {
    { "/", get = function() return { body = index() } end, name = "index" },
    { "/range", get = range, name = "range" },
    { "/slow", get = slow },
    { "/countdown", get = countdown },
    { "/file", get = file },
    { "/table", get = tree },
    { "/drawing", get = drawing },
    { "/words", get = words },
    { "/echo", post = echo, put = echo },
  },
}
