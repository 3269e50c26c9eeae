-- upstream.lua - the server behind the gateway, played by the spec itself, byte for byte.
--
--   local up <close> = upstream.listen()
--   client:send("GET /get?port=" .. up.port .. " HTTP/1.1\r\nHost: a\r\n\r\n")
--   local c <close> = up:accept()
--   local request = c:read_request()
--   c:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
local harness = require("harness")
local raw = require("raw")

local upstream = {}
local Upstream = {}
Upstream.__index = Upstream

-- port: a number, or the path of a unix socket.
function upstream.listen(port, options)
  local socket = assert(harness.listen(port or 0, options))
  return setmetatable({ socket = socket, port = socket:port() }, Upstream)
end

local Connection = {}

-- A request's head, and its body where that has a length: { line, headers, body }, names in lower
-- case, values in lists.
function Connection:read_request(timeout)
  local text = assert(self.client:read_until("\r\n\r\n", timeout))
  local request = { line = text:match("^[^\r]*"), headers = {}, raw = text }
  for name, value in text:gsub("^[^\n]*\n", ""):gmatch("([^:\r\n]+):[ \t]*([^\r]*)\r\n") do
    local list = request.headers[name:lower()] or {}
    list[#list + 1] = value
    request.headers[name:lower()] = list
  end
  local length = request.headers["content-length"]
  if length then request.body = assert(self.client:read_bytes(tonumber(length[1]), timeout)) end
  return request
end

-- What it has not itself it has of raw.lua's client.
function Connection.__index(_, name)
  return rawget(Connection, name)
    or function(self, ...) return self.client[name](self.client, ...) end
end

function Connection:__close() self.client:close() end

-- True once the gateway has closed it, "closed" or "reset", within so many seconds.
function Connection:is_closed(seconds)
  local _, why = self.client:read_all(seconds or 5)
  return why == "closed" or why == "reset", why
end

function Upstream:accept(timeout)
  local socket = assert(self.socket:accept(timeout))
  return setmetatable({ client = raw.wrap(socket) }, Connection)
end

-- Accepts, reads the request, answers with these bytes: the connection, and the request.
function Upstream:answer(bytes, timeout)
  local connection = self:accept(timeout)
  local request = connection:read_request(timeout)
  assert(connection:send(bytes))
  return connection, request
end

function Upstream:close() self.socket:close() end
Upstream.__close = Upstream.close

return upstream
