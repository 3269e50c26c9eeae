--- tg.multipart: the parts of a form that was sent as multipart/form-data (RFC 7578), as streams.

local core = require("tidegate.core")

local PARTS_MAX = 1000

local function refuse(status, message)
  error({ status = status, message = message }, 0)
end

-- --- Reading on ----------------------------------------------------------------------------------

--- What the request's body says, event by event: a table begins a part, a string is data, true ends
--- one; nil is the end of all.
---@class tidegate.multipart.Source
---@field request tidegate.Request
---@field parser any
---@field events any[]
---@field at integer
---@field parts integer
---@field max_parts integer
local Source = {}
Source.__index = Source

function Source:next()
  while self.at > #self.events do
    if self.parser:over() then
      return nil
    end
    local chunk = self.request.body:read()
    if not chunk then
      refuse(400, "the form ends before its last boundary")
    end
    local events, why = self.parser:feed(chunk)
    if not events then
      refuse(400, "the form is malformed: " .. why)
    end
    self.events, self.at = events, 1
  end
  local event = self.events[self.at]
  self.at = self.at + 1
  return event
end

-- --- Parts ---------------------------------------------------------------------------------------

--- One part of a form: a stream, good until the next one is asked for. It may be a response's
--- body.
---@class tidegate.Part
---@field name string? as its Content-Disposition says; what browsers escape in it, a quote or a
--- line break, is unescaped
---@field filename string? as the client says: not to be trusted as a path
---@field content_type string
---@field headers table<string, string> by name in lower case
---@field source tidegate.multipart.Source
---@field over boolean
local Part = {}
Part.__index = Part

--- The next chunk, or nil at the part's end. Raises with status 400 where the form is malformed.
---@async
---@return string?
function Part:read()
  if self.over then
    return nil
  end
  local event = self.source:next()
  if event == true or event == nil then
    self.over = true
    return nil
  end
  return event
end

--- for chunk in part:chunks() do
---@return async fun(): string?
function Part:chunks()
  return function()
    return self:read()
  end
end

--- The whole of it, up to most bytes (limits.body_buffer is for bodies; 1 MiB here): else 413.
---@async
---@param most? integer
---@return string
function Part:all(most)
  most = most or 1 << 20
  local chunks, bytes = {}, 0
  for chunk in self:chunks() do
    bytes = bytes + #chunk
    if bytes > most then
      refuse(413, ("a part of the form is larger than %d bytes"):format(most))
    end
    chunks[#chunks + 1] = chunk
  end
  return table.concat(chunks)
end

function Part.__write_body(self, out)
  for chunk in self:chunks() do
    out:write(chunk)
  end
end

--- As browsers send them in quoted names: these three escapes and no others (WHATWG HTML,
--- "multipart/form-data encoding algorithm"), so a name with a `%41` in it is meant so.
local ESCAPES = { ["%22"] = '"', ["%0D"] = "\r", ["%0A"] = "\n" }

--- A parameter of a field's value, a token or a quoted string.
local function parameter(value, wanted)
  local at = value:find(";", 1, true)
  while at do
    local name, after = value:match("^;%s*([^%s=;]+)%s*=%s*()", at)
    if not name then
      return nil
    end
    local text, stop
    if value:sub(after, after) == '"' then
      local from = after + 1
      local to = from
      while to <= #value and value:sub(to, to) ~= '"' do
        to = to + (value:sub(to, to) == "\\" and 2 or 1)
      end
      text = value:sub(from, to - 1):gsub('\\(["\\])', "%1"):gsub("%%%x%x", ESCAPES)
      stop = to + 1
    else
      text, stop = value:match("^([^;%s]*)()", after)
    end
    if name:lower() == wanted then
      return text
    end
    at = value:find(";", stop, true)
  end
end

local function make_part(source, fields)
  local headers = {}
  for i = 1, #fields, 2 do
    headers[fields[i]:lower()] = fields[i + 1]
  end
  local disposition = headers["content-disposition"] or ""
  return setmetatable({
    source = source,
    headers = headers,
    name = parameter(disposition, "name"),
    filename = parameter(disposition, "filename"),
    content_type = headers["content-type"] or "text/plain",
    over = false,
  }, Part)
end

-- --- tg.multipart --------------------------------------------------------------------------------

local function next_part(source, last)
  while last and last:read() do -- what nobody has read of the one before
  end
  local fields = source:next()
  if fields == nil then
    return nil
  end
  source.parts = source.parts + 1
  if source.parts > source.max_parts then
    refuse(400, ("the form has more than %d parts"):format(source.max_parts))
  end
  return make_part(source, fields)
end

--- Iterates over the parts of a form as they come: `for part in tg.multipart(request) do`. Nothing
--- is kept: what is not read of a part is passed over. Raises with status 415 where the request is
--- no multipart/form-data, and 400 where it is malformed.
---@async
---@param request tidegate.Request
---@param options? { max_parts: integer } 1000
---@return fun(source: table, last: tidegate.Part?): tidegate.Part?
---@return table source
local function multipart(request, options)
  if type(request) ~= "table" and type(request) ~= "userdata" then
    error("tg.multipart: expected a request, got a " .. type(request), 2)
  end
  local value = request.headers["content-type"] or ""
  if value:match("^%s*([^;%s]*)"):lower() ~= "multipart/form-data" then
    refuse(415, "expected multipart/form-data")
  end
  local parser = core._multipart(parameter(value, "boundary") or "")
  if not parser then
    refuse(400, "the form's Content-Type has no boundary")
  end
  local source = setmetatable({
    request = request,
    parser = parser,
    events = {},
    at = 1,
    parts = 0,
    max_parts = options and options.max_parts or PARTS_MAX,
  }, Source)
  return next_part, source
end

return multipart
