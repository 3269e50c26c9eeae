-- raw.lua - an HTTP client that hides nothing: bytes in and out, and responses with the time at
-- which each piece came.  Every call has a timeout in seconds (5 where none is given).
--
--   local c = raw.connect(port)
--   c:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
--   local response = c:read_response()
local harness = require("harness")

local PATIENCE = 20 -- seconds: a deadline, not a promise

local Client = {}
Client.__index = Client

local raw = { secure = {} } -- the ports that are spoken to with TLS

-- The socket of an accept, say, as a client.
function raw.wrap(socket) return setmetatable({ socket = socket, buffer = "" }, Client) end

-- options: as for harness.connect(); port may be the path of a unix socket.
function raw.connect(port, options)
  local socket, why = harness.connect(port, options)
  if not socket then return nil, why end
  if raw.secure[port] then
    local greeted, what = socket:tls(options and options.server_name, options and options.timeout, raw.newest_tls)
    if not greeted then
      socket:close()
      return nil, what
    end
  end
  return raw.wrap(socket)
end

-- One request on a connection of its own, and its response.
function raw.request(port, text, timeout, options)
  local client <close> = assert(raw.connect(port))
  assert(client:send(text, timeout))
  return client:read_response(timeout, options)
end

function raw.get(port, target, timeout)
  return raw.request(port, ("GET %s HTTP/1.1\r\nHost: spec\r\n\r\n"):format(target), timeout)
end

-- The result, or nil, why and the number of bytes sent.
function Client:send(data, timeout) return self.socket:send(data, timeout) end

-- Closing, and resetting: what the server sees of a client that went away, or crashed.
function Client:close() self.socket:close() end
function Client:reset() self.socket:reset() end
function Client:shutdown_write() return self.socket:shutdown_write() end
function Client:__close() self.socket:close() end

local function seconds_until(deadline) return (deadline - harness.now()) / 1000 end
local function deadline_in(timeout) return harness.now() + (timeout or PATIENCE) * 1000 end

-- Waits for more bytes: true, or nil and why.
function Client:more(deadline)
  local data, why = self.socket:recv(65536, math.max(0, seconds_until(deadline)))
  if not data then return nil, why end
  self.buffer = self.buffer .. data
  return true
end

local function take(self, count)
  local data = self.buffer:sub(1, count)
  self.buffer = self.buffer:sub(count + 1)
  return data
end

-- Everything up to the end of the pattern's first match, or nil, why and what there is.
function Client:read_until(pattern, timeout)
  local deadline = deadline_in(timeout)
  while true do
    local _, last = self.buffer:find(pattern)
    if last then return take(self, last) end
    local more, why = self:more(deadline)
    if not more then return nil, why, self.buffer end
  end
end

-- Exactly so many bytes, or nil, why and what there is.
function Client:read_bytes(count, timeout)
  local deadline = deadline_in(timeout)
  local parts, have = { self.buffer }, #self.buffer
  self.buffer = ""
  while have < count do
    local data, why = self.socket:recv(1048576, math.max(0, seconds_until(deadline)))
    if not data then
      self.buffer = table.concat(parts)
      return nil, why, self.buffer
    end
    parts[#parts + 1], have = data, have + #data
  end
  self.buffer = table.concat(parts)
  return take(self, count)
end

-- Until the server closes: all of it and "closed", or "reset" or "timeout".
function Client:read_all(timeout)
  local deadline = deadline_in(timeout)
  local parts = { self.buffer }
  self.buffer = ""
  while true do
    local data, why = self.socket:recv(1048576, math.max(0, seconds_until(deadline)))
    if not data then return table.concat(parts), why end
    parts[#parts + 1] = data
  end
end

-- True when nothing comes for so many seconds; else false and what came, or why not.
function Client:is_silent(seconds)
  if self.buffer ~= "" then return false, self.buffer end
  local more, why = self:more(deadline_in(seconds))
  if more then return false, self.buffer end
  return why == "timeout", why
end

local function parse_head(text)
  local minor, status, reason = text:match("^HTTP/1%.([01]) (%d%d%d) ?([^\r\n]*)\r\n")
  if not status then return nil, "no status line: " .. text:sub(1, 80) end
  local head = {
    status = tonumber(status),
    reason = reason,
    minor = tonumber(minor),
    headers = {},
    raw = text,
    chunks = {},
    complete = false,
  }
  for line in text:gsub("^[^\n]*\n", ""):gmatch("([^\n]*)\n") do
    local name, value = line:match("^([^%s:]+):[ \t]*(.-)[ \t]*\r$")
    if name then
      name = name:lower()
      local list = head.headers[name] or {}
      list[#list + 1] = value
      head.headers[name] = list
    elseif line ~= "\r" then
      return nil, "a header line that is none: " .. line
    end
  end
  return head
end

local function framing(head, to_head_request)
  local coding = head.headers["transfer-encoding"]
  local length = head.headers["content-length"]
  local bodiless = head.status < 200 or head.status == 204 or head.status == 304
  if to_head_request or bodiless then return "length", 0 end
  if coding then return "chunked" end
  if length then return "length", tonumber(length[1]) end
  return "close"
end

-- A response's head: { status, reason, minor, headers = { lower-case name = list of values }, raw,
-- chunks = {} }, or nil and why.  options.head: it answers a HEAD.
function Client:read_head(timeout, options)
  local text, why, rest = self:read_until("\r\n\r\n", timeout)
  if not text then return nil, why, rest end
  local head, problem = parse_head(text)
  if not head then return nil, problem, text end
  head.framing, head.left = framing(head, options and options.head)
  head.complete = head.left == 0
  return head
end

local function end_with(response, why)
  response.error = why
  return nil, why
end

local function read_chunked(self, response, deadline)
  local line, why = self:read_until("\r\n", seconds_until(deadline))
  if not line then return end_with(response, why) end
  response.raw = response.raw .. line
  local size = tonumber(line:match("^(%x+)[\r;]"), 16)
  if not size then return end_with(response, "no chunk size: " .. line) end
  if size == 0 then
    local rest, late = self:read_until("\r\n", seconds_until(deadline))
    if not rest then return end_with(response, late) end
    response.raw = response.raw .. rest
    response.complete = rest == "\r\n"
    return end_with(response, not response.complete and "trailers" or nil)
  end
  local data, cut = self:read_bytes(size + 2, seconds_until(deadline))
  if not data then return end_with(response, cut) end
  response.raw = response.raw .. data
  if data:sub(-2) ~= "\r\n" then return end_with(response, "no line break after a chunk") end
  return data:sub(1, -3)
end

local function read_plain(self, response, deadline)
  if self.buffer == "" then
    local more, why = self:more(deadline)
    if not more then
      response.complete = response.framing == "close" and why == "closed"
      return end_with(response, not response.complete and why or nil)
    end
  end
  local data = take(self, response.left or #self.buffer)
  response.raw = response.raw .. data
  if response.left then
    response.left = response.left - #data
    response.complete = response.left == 0
  end
  return data
end

-- The next piece of the body (a chunk where it is chunked, else what has come), which also goes to
-- the end of response.chunks, as { bytes =, at = ms }; nil at the end, where response.complete says
-- whether it was the right one and response.error why not.
function Client:read_chunk(response, timeout)
  if response.complete or response.error then return nil, response.error end
  local read = response.framing == "chunked" and read_chunked or read_plain
  local data, why = read(self, response, deadline_in(timeout))
  if not data then return nil, why end
  response.chunks[#response.chunks + 1] = { bytes = data, at = harness.now() }
  return data
end

-- A whole response: read_head()'s, with body.  One that is cut short has complete == false and an
-- error ("closed", "reset", "timeout", …); nil and why when there was no head.
function Client:read_response(timeout, options)
  local deadline = deadline_in(timeout)
  local response, why, rest = self:read_head(timeout, options)
  if not response then return nil, why, rest end
  while self:read_chunk(response, seconds_until(deadline)) do end
  local parts = {}
  for i, chunk in ipairs(response.chunks) do parts[i] = chunk.bytes end
  response.body = table.concat(parts)
  return response
end

return raw
