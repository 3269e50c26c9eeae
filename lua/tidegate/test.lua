--- tg.test: a service's answers without a socket, and what misbehaves on demand.

local core = require("tidegate.core")
local upstream = require("tidegate.test.upstream")

local test = {}

local MOST = 16 << 20 -- bytes of a body that is kept whole, unless the test says otherwise
local STEPS = 10 -- a slow client's reads in a second

-- What tg.test was given before, as C knows it.
local services = setmetatable({}, { __mode = "k" })

local function service_of(service)
  if type(service) ~= "table" then
    error(("expected a service table, got %s"):format(type(service)), 0)
  end
  if service.routes == nil and type(service.service) == "table" then -- what a check was given
    service = service.service
  end
  local known = services[service]
  if not known then
    known = {}
    known.service, known.description = core._test_service(service)
    services[service] = known
  end
  require("tidegate")._use(known.description)
  return known.service
end

-- --- The request ------------------------------------------------------------------------------

local OPTIONS = {
  headers = "table", body = true, json = true, form = "table", scheme = "string", read = true,
  leaves_after = "number", most = "number",
}

local function check_options(options)
  for name, value in pairs(options) do
    local expected = OPTIONS[name]
    if not expected then
      error(("unknown option %s"):format(tostring(name)), 0)
    elseif expected ~= true and type(value) ~= expected then
      error(("option %s: expected a %s, got %s"):format(name, expected, type(value)), 0)
    end
  end
end

local function has_header(headers, name)
  for given in pairs(headers) do
    if type(given) == "string" and given:lower() == name:lower() then
      return true
    end
  end
  return false
end

local function add_line(lines, name, value)
  local line = ("%s: %s"):format(name, tostring(value))
  if line:find("[\r\n\0]") then
    error(("header %s: a line break or NUL in it"):format(name), 0)
  end
  lines[#lines + 1] = line
end

--- Sorted, so that a request is the same from run to run.
local function add_headers(lines, headers)
  local names = {}
  for name in pairs(headers) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = headers[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      add_line(lines, name, one)
    end
  end
end

local function encode_form(fields)
  local function escape(text)
    return (tostring(text):gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
  end
  local names, out = {}, {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = fields[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      out[#out + 1] = escape(name) .. "=" .. escape(one)
    end
  end
  return table.concat(out, "&")
end

--- The body, and its type where the test does not name one.
local function body_of(options)
  if options.json ~= nil then
    return core.json.encode(options.json), "application/json"
  elseif options.form then
    return encode_form(options.form), "application/x-www-form-urlencoded"
  end
  return options.body
end

local function head_of(method, target, options, body, media_type)
  local headers = options.headers or {}
  local lines = { ("%s %s HTTP/1.1"):format(method, target) }
  if lines[1]:find("[\r\n\0]") then
    error("a line break or NUL in the method or target", 0)
  end
  if not has_header(headers, "Host") then
    add_line(lines, "Host", "localhost")
  end
  add_headers(lines, headers)
  if media_type and not has_header(headers, "Content-Type") then
    add_line(lines, "Content-Type", media_type)
  end
  local framed = has_header(headers, "Content-Length") or has_header(headers, "Transfer-Encoding")
  if type(body) == "string" and not framed then
    add_line(lines, "Content-Length", #body)
  elseif body ~= nil and not framed then
    add_line(lines, "Transfer-Encoding", "chunked")
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

--- The chunks of a body: of a string, a list, or a function that returns the next one.
local function chunks_of(body)
  if type(body) == "function" then
    return body
  end
  local list, at = type(body) == "table" and body or { body }, 0
  return function()
    at = at + 1
    return list[at]
  end
end

local function feed(client, body)
  for chunk in chunks_of(body) do
    if not client:feed(chunk) then
      return
    end
  end
  client:feed_end()
end

-- --- The response -----------------------------------------------------------------------------

--- What a request is made of, and how its client behaves.
---@class tidegate.test.Options
---@field headers? table<string, string|number|(string|number)[]> Host: localhost unless it is here
---@field body? string|string[]|fun(): string? whole, or in chunks: a list, or a function that gives
--- the next one and may wait
---@field json? any a body: the value as JSON, with its Content-Type
---@field form? table<string, any> a body: fields of a form, with its Content-Type
---@field scheme? "http"|"https"
---@field read? number|async fun(chunk: string) how slowly the client reads: bytes per second, or
--- what is called with each chunk before it reads on
---@field leaves_after? integer the client leaves when it has so many bytes of the body; 0: with the
--- head
---@field most? integer bytes of a body that response_for keeps (16 MiB); an error past it

--- A whole response, as tg.test.response_for gives it.
---@class tidegate.test.Response
---@field status integer? nil: the exchange has ended without an answer
---@field headers table<string, string|string[]>? in any case; a list where a name is repeated
---@field body string
---@field chunks { data: string, at: number }[] the body as it was sent, in seconds from the request
---@field ending string as on_close callbacks are told: "done", "client_closed", "timeout", "error"
---@field broken boolean? true: the body is not whole
---@field error string? what nobody has handled, with its traceback
---@field log string warnings and errors, a line each, that a gateway would have logged of the
--- service's exchanges since the last response

--- A response on its way, as tg.test.stream_for gives it. As a `<close>` variable its client leaves
--- with the scope.
---@class tidegate.test.Stream
local Stream = {}
Stream.__index = Stream

--- Waits for the response's head.
---@async
---@return integer? status nil: the exchange has ended without an answer
---@return table<string, string|string[]>? headers
function Stream:head()
  if self.refused then
    return self.refused, {}
  end
  return self.client:head()
end

--- What a slow client does between its reads.
local function linger(self, chunk)
  local read = self.read_rate
  if type(read) == "number" then
    core.sleep(#chunk / read)
  elseif read then
    read(chunk)
  end
end

--- How much the next read takes: all that is there, or what a slow client does.
local function size_of_read(self)
  local most = 0
  if type(self.read_rate) == "number" then
    most = math.max(1, math.floor(self.read_rate / STEPS))
  end
  if self.leaves_after then
    local left = self.leaves_after - self.bytes
    most = most == 0 and left or math.min(most, left)
  end
  return most
end

local function leave_if_enough(self)
  if self.leaves_after and self.bytes >= self.leaves_after and not self.left then
    self:leave()
  end
end

--- Waits for the next chunk of the body: what was sent at a time, or as much as a slow client
--- reads. nil at the end.
---@async
---@return string? chunk
---@return number? at when it was sent, in seconds from the request
function Stream:read()
  if self.refused or self.left then
    return nil
  end
  if self.leaves_after == 0 then
    self.client:head()
  end
  leave_if_enough(self)
  if self.left then
    return nil
  end
  local chunk, at = self.client:take(size_of_read(self))
  if not chunk then
    return nil
  end
  self.bytes = self.bytes + #chunk
  linger(self, chunk)
  leave_if_enough(self)
  return chunk, at - self.began
end

--- for chunk, at in stream:chunks() do
---@return async fun(): string?, number?
---@return tidegate.test.Stream
function Stream:chunks()
  return Stream.read, self
end

--- How much was sent that the client has not read: what a producer is held back by.
---@return integer bytes
function Stream:waiting()
  return self.refused and 0 or self.client:waiting()
end

--- The client leaves, now.
function Stream:leave()
  self.left = true
  if not self.refused then
    self.client:leave()
  end
end

--- Waits for the end of the exchange. Who has not read everything has to read or leave before.
---@async
---@return string ending as on_close callbacks are told: "done", "client_closed", "timeout", "error"
---@return boolean whole whether the client was sent all of it
---@return string? error what nobody has handled, with its traceback
---@return string log as in tidegate.test.Response
function Stream:over()
  if self.refused then
    return "refused", true, nil, ""
  end
  local whole, ending, failure, log = self.client:over()
  return ending, whole, failure, log
end

--- Reads the rest, and waits for the end.
---@async
---@return tidegate.test.Response
function Stream:response()
  local status, headers = self:head()
  local response = { status = status, headers = headers, chunks = {} }
  local parts, bytes = {}, 0
  for chunk, at in self:chunks() do
    bytes = bytes + #chunk
    if bytes > self.most then
      self:leave()
      error(("the response's body is longer than %d bytes (most)"):format(self.most), 0)
    end
    parts[#parts + 1] = chunk
    response.chunks[#parts] = { data = chunk, at = at }
  end
  response.body = table.concat(parts)
  local whole
  response.ending, whole, response.error, response.log = self:over()
  response.broken = not whole and not self.refused or nil
  return response
end

Stream.__close = function(self)
  self:leave()
end

local function start(service, method, target, options)
  options = options or {}
  check_options(options)
  local body, media_type = body_of(options)
  local head = head_of(method or "GET", target or "/", options, body, media_type)
  local client, refused = core._test_client(service_of(service), head, options.scheme == "https")
  if client and body ~= nil and body ~= "" then
    core.spawn(feed, client, body)
  end
  return setmetatable({
    client = client,
    refused = refused,
    began = core.monotonic(),
    bytes = 0,
    read_rate = options.read,
    leaves_after = options.leaves_after,
    most = options.most or MOST,
  }, Stream)
end

--- Errors of the test's own are raised where it has called us.
local function started(...)
  local fine, stream = pcall(start, ...)
  if not fine then
    error("tg.test: " .. tostring(stream), 3)
  end
  return stream
end

--- Begins a request to a service, as if a client had sent it: through the router, the chain and
--- the body's streaming, with no socket in between. It goes on whenever the test waits. Requests
--- that the gateway itself would refuse, by a 400 say, are answered so, with no exchange.
---@param service table what a script returns; tried in this state, with its limits and no on_start
---@param method string
---@param target string as it would be sent: percent-encoded, with its query
---@param options? tidegate.test.Options
---@return tidegate.test.Stream
function test.stream_for(service, method, target, options)
  return (started(service, method, target, options))
end

--- The same, to the end: the whole response.
---@async
---@param service table
---@param method string
---@param target string
---@param options? tidegate.test.Options
---@return tidegate.test.Response
function test.response_for(service, method, target, options)
  local stream <close> = started(service, method, target, options)
  return stream:response()
end

--- Time stands still from now on, until the test moves it. There is one clock: another one takes
--- its place. For `tidegate test` and for a service's check; a gateway that serves has the time
--- that there is.
---@return tidegate.test.Clock
function test.clock()
  return core._test_clock()
end

test.upstream = upstream

return test
