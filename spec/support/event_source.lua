-- event_source.lua - a client of event streams, by the standard (WHATWG HTML, 9.2): it hides no byte.
--
--   local stream <close> = event_source.open(port, "/events", { id = "7" })
--   stream:event()  -->  { type = "message", data = "…", id = "7" }
local harness = require("harness")
local raw = require("raw")

local Stream = {}
Stream.__index = Stream

local event_source = {}

local function new(client, head)
  return setmetatable({
    client = client, head = head,
    text = "",      -- that no line has been made of yet
    all = "",       -- of the body so far
    data = {}, type = "", id = "",
    comments = 0, retries = {},
  }, Stream)
end

-- options: id (Last-Event-ID), fields (header lines), method, version, body, connect (raw.connect()'s
-- options), timeout.  Returns once the response's head is there.
function event_source.open(port, target, options)
  options = options or {}
  local client = assert(raw.connect(port, options.connect))
  assert(client:send(("%s %s HTTP/%s\r\nHost: spec\r\nAccept: text/event-stream\r\n%s%s%s\r\n%s"):format(
    options.method or "GET", target, options.version or "1.1",
    options.id and "Last-Event-ID: " .. options.id .. "\r\n" or "",
    options.body and "Content-Length: " .. #options.body .. "\r\n" or "",
    options.fields or "", options.body or "")))
  local head = assert(client:read_head(options.timeout or 10))
  return new(client, head)
end

-- Reads from text alone: event_source.parse(text) -> list of events, the stream
function event_source.parse(text)
  local self, events = new(), {}
  self.text, self.ended = text, true
  for event in function() return self:event() end do events[#events + 1] = event end
  return events, self
end

-- More of the body, through its chunks; nil and why: what is there stays, so that one may ask again.
local function more(self, deadline)
  local client, head = self.client, self.head
  while head.framing == "chunked" do
    local line = client.buffer:match("^%x+\r\n")
    local size = line and tonumber(line:match("^%x+"), 16)
    if size and #client.buffer >= #line + size + 2 then
      local data = client.buffer:sub(#line + 1, #line + size)
      assert(client.buffer:sub(#line + size + 1, #line + size + 2) == "\r\n", "a chunk without its end")
      client.buffer = client.buffer:sub(#line + size + 3)
      self.ended = size == 0
      return data
    end
    local some, why = client:more(deadline)
    if not some then return nil, why end
  end
  if client.buffer == "" then
    local some, why = client:more(deadline)
    self.ended = not some and why == "closed"
    if not some and not self.ended then return nil, why end
  end
  local data = client.buffer
  client.buffer = ""
  return data
end

-- The next line, without its end; nil and why when there is no more.
local function next_line(self, deadline)
  while true do
    local line, ending, rest = self.text:match("^([^\r\n]*)(\r?\n?)(.*)$")
    -- A CR at the very end may be half of a CRLF.
    if ending ~= "" and (ending ~= "\r" or rest ~= "" or self.ended) then
      self.text = rest
      return line
    end
    if self.ended then return nil, "ended" end
    local bytes, why = more(self, deadline)
    if not bytes then return nil, why end
    self.text = self.text .. bytes
    self.all = self.all .. bytes
  end
end

local function take(self, field, value)
  if field == "event" then
    self.type = value
  elseif field == "data" then
    table.insert(self.data, value)
  elseif field == "id" and not value:find("\0") then
    self.id = value
  elseif field == "retry" and value:find("^%d+$") then
    self.retry = tonumber(value)
    table.insert(self.retries, self.retry)
  end
end

-- The next event { type, data, id, at }, or nil and why ("timeout", "closed", …; "ended": the response is whole).
function Stream:event(timeout)
  local deadline = harness.now() + (timeout or 10) * 1000
  while true do
    local line, why = next_line(self, deadline)
    if not line then return nil, why end
    if line == "" then
      local event = { type = self.type ~= "" and self.type or "message", id = self.id, at = harness.now() }
      event.data = table.concat(self.data, "\n")
      local some = #self.data > 0
      self.type, self.data = "", {}
      if some then return event end
    elseif line:sub(1, 1) == ":" then
      self.comments = self.comments + 1
    else
      take(self, line:match("^([^:]*):? ?(.*)$"))
    end
  end
end

-- Their data, of so many events.
function Stream:take(count, timeout)
  local list = {}
  for i = 1, count do
    local event, why = self:event(timeout)
    if not event then return list, why end
    list[i] = event.data
  end
  return list
end

-- Everything up to the response's end: the events, and why there are no more.
function Stream:rest(timeout)
  local list = {}
  while true do
    local event, why = self:event(timeout)
    if not event then return list, why end
    list[#list + 1] = event
  end
end

-- Reads for so many seconds, and expects no event: the number of comments that have come.
function Stream:listen(seconds)
  local before = self.comments
  local event, why = self:event(seconds)
  if event then error("an event: " .. event.data, 2) end
  if why ~= "timeout" then error("the stream is over: " .. tostring(why), 2) end
  return self.comments - before
end

function Stream:close() self.client:close() end
function Stream:__close() self.client:close() end

return event_source
