--- tg.test.upstream: another server, on a socket of its own, that answers or fails as it is told.

local core = require("tidegate.core")

--- What such a server does with a request. One of close, reset and hang says where it stops:
--- "accept" (at once, nothing is read), "request" (that was read, nothing is answered), "head" (in
--- the middle of it), or behind so many bytes of the body.
---@class tidegate.test.UpstreamPlan
---@field status? integer 200
---@field headers? table<string, string|number|(string|number)[]>
---@field body? string|string[] whole, or in chunks
---@field chunked? boolean its framing; else its Content-Length is said
---@field delay? number seconds before the answer
---@field pace? number seconds between its chunks
---@field raw? string what is answered instead, byte for byte; then the connection is closed
---@field close? "accept"|"request"|"head"|integer where the connection is closed
---@field reset? "accept"|"request"|"head"|integer where it is reset
---@field hang? "accept"|"request"|"head"|integer where nothing comes any more

--- A request as the server has read it.
---@class tidegate.test.UpstreamRequest
---@field method string
---@field target string
---@field headers table<string, string> by names in lower case; repeated ones joined with ", "
---@field body string
---@field left boolean? the other side has gone while the answer hung, or before all of it was sent

---@class tidegate.test.Upstream
---@field url string "http://127.0.0.1:PORT"
---@field port integer
---@field requests tidegate.test.UpstreamRequest[] all so far, the first one first
---@field connections integer how many were accepted
local Upstream = {}
Upstream.__index = Upstream

local FAILURES = { "close", "reset", "hang" }
local FIELDS = {
  status = "number", headers = "table", body = true, chunked = "boolean", delay = "number",
  pace = "number", raw = "string", close = true, reset = true, hang = true,
}
local PLACES = { accept = true, request = true, head = true }

local function check_plan(plan)
  for name, value in pairs(plan) do
    local expected = FIELDS[name]
    if not expected then
      error(("unknown field %s"):format(tostring(name)), 0)
    elseif expected ~= true and type(value) ~= expected then
      error(("%s: expected a %s, got %s"):format(name, expected, type(value)), 0)
    end
  end
  for _, how in ipairs(FAILURES) do
    local where = plan[how]
    if where ~= nil and not PLACES[where] and not math.tointeger(where) then
      error(("%s: expected \"accept\", \"request\", \"head\" or bytes of the body"):format(how), 0)
    end
  end
end

--- How and where a plan stops.
local function failure_of(plan)
  for _, how in ipairs(FAILURES) do
    if plan[how] ~= nil then
      return how, plan[how]
    end
  end
end

-- --- Requests -----------------------------------------------------------------------------------

--- Bytes of a connection, read as they are asked for.
local Input = {}
Input.__index = Input

function Input:more()
  local bytes = self.wire:read()
  if bytes then
    self.text = self.text .. bytes
  end
  return bytes ~= nil
end

function Input:take(count)
  while #self.text < count do
    if not self:more() then
      return nil
    end
  end
  local bytes = self.text:sub(1, count)
  self.text = self.text:sub(count + 1)
  return bytes
end

function Input:take_until(mark)
  local from, to = self.text:find(mark, 1, true)
  while not from do
    if not self:more() then
      return nil
    end
    from, to = self.text:find(mark, 1, true)
  end
  local bytes = self.text:sub(1, from - 1)
  self.text = self.text:sub(to + 1)
  return bytes
end

local function read_chunks(input)
  local parts = {}
  while true do
    local size = tonumber((input:take_until("\r\n") or ""):match("^%x+") or "", 16)
    if not size then
      return nil
    elseif size == 0 then
      return input:take_until("\r\n") and table.concat(parts)
    end
    parts[#parts + 1] = input:take(size)
    if not input:take_until("\r\n") then
      return nil
    end
  end
end

local function read_request(input)
  local head = input:take_until("\r\n\r\n")
  local method, target = (head or ""):match("^(%S+) (%S+) HTTP/1%.[01]")
  if not method then
    return nil
  end
  local request = { method = method, target = target, headers = {} }
  for name, value in head:gmatch("\r\n([^:\r\n]+):[ \t]*([^\r\n]*)") do
    name = name:lower()
    local before = request.headers[name]
    request.headers[name] = before and before .. ", " .. value or value
  end
  if request.headers["transfer-encoding"] then
    request.body = read_chunks(input)
  else
    request.body = input:take(tonumber(request.headers["content-length"]) or 0)
  end
  return request.body and request
end

-- --- Answers ------------------------------------------------------------------------------------

local function add_header(lines, name, value)
  for _, one in ipairs(type(value) == "table" and value or { value }) do
    lines[#lines + 1] = ("%s: %s"):format(name, one)
  end
end

local function head_of(plan, chunks)
  local lines = { ("HTTP/1.1 %d Told"):format(plan.status or 200) }
  local length = 0
  for name, value in pairs(plan.headers or {}) do
    add_header(lines, name, value)
  end
  for _, chunk in ipairs(chunks) do
    length = length + #chunk
  end
  if plan.chunked then
    add_header(lines, "Transfer-Encoding", "chunked")
  else
    add_header(lines, "Content-Length", length)
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

--- Waits until the other side has gone.
local function hang(input, request)
  while input:more() do
    input.text = ""
  end
  if request then
    request.left = true
  end
end

--- Stops as it is told; what is left of the connection is closed by the caller.
local function stop(how, input, request)
  if how == "reset" then
    input.wire:reset()
  elseif how == "hang" then
    hang(input, request)
  end
  return false
end

local function frame(plan, chunk, part)
  if not plan.chunked then
    return part
  end
  return ("%x\r\n%s%s"):format(#chunk, part, #part == #chunk and "\r\n" or "")
end

--- Whether all of it went, with no failure that was planned.
local function send_body(input, request, plan, chunks)
  local how, where = failure_of(plan)
  local left = math.tointeger(where) or math.huge
  for n, chunk in ipairs(chunks) do
    if n > 1 and plan.pace then
      core.sleep(plan.pace)
    end
    local part = #chunk > left and chunk:sub(1, left) or chunk
    local framed = frame(plan, chunk, part)
    if framed ~= "" and not input.wire:write(framed) then
      request.left = true
      return false
    end
    left = left - #part
    if left <= 0 then
      return stop(how, input, request)
    end
  end
  if math.tointeger(where) then
    return stop(how, input, request)
  end
  return not plan.chunked or input.wire:write("0\r\n\r\n")
end

--- Whether the connection may have another request.
local function answer(input, request, plan)
  local how, where = failure_of(plan)
  if plan.delay then
    core.sleep(plan.delay)
  end
  if where == "request" then
    return stop(how, input, request)
  elseif plan.raw then
    input.wire:write(plan.raw)
    return false
  end
  local chunks = type(plan.body) == "table" and plan.body or { plan.body or "" }
  local head = head_of(plan, chunks)
  if where == "head" then
    input.wire:write(head:sub(1, #head // 2))
    return stop(how, input, request)
  end
  if not input.wire:write(head) then
    request.left = true
    return false
  end
  return request.method == "HEAD" or send_body(input, request, plan, chunks)
end

-- --- The server -------------------------------------------------------------------------------

local function plan_for(self, request)
  if type(self.plan) ~= "function" then
    return self.plan
  end
  local plan = self.plan(request) or {}
  check_plan(plan)
  return plan
end

local function serve(self, wire)
  local connection <close> = wire
  local input = setmetatable({ wire = connection, text = "" }, Input)
  if type(self.plan) == "table" then
    local how, where = failure_of(self.plan)
    if where == "accept" then
      stop(how, input)
      return
    end
  end
  repeat
    local request = read_request(input)
    if request then
      self.requests[#self.requests + 1] = request
    end
  until not request or not answer(input, request, plan_for(self, request))
end

local function listen(self)
  local group <close> = core.group()
  while true do
    local wire = self.listener:accept()
    self.connections = self.connections + 1
    group:spawn(serve, self, wire)
  end
end

--- Ends it: whoever connects from now on is refused, and what it has open is closed.
function Upstream:close()
  self.task:cancel()
  self.listener:close()
end

Upstream.__close = Upstream.close

---@alias tidegate.test.Plans
---| tidegate.test.UpstreamPlan
---| async fun(request: tidegate.test.UpstreamRequest): tidegate.test.UpstreamPlan?

--- Another server, on a free port of 127.0.0.1: it answers each request as the plan says, or the
--- plan that the function gives for it. As a `<close>` variable it ends with its scope.
---@param plan? tidegate.test.Plans
---@return tidegate.test.Upstream
local function upstream(plan)
  plan = plan or {}
  if type(plan) == "table" then
    local fine, why = pcall(check_plan, plan)
    if not fine then
      error("tg.test.upstream: " .. why, 2)
    end
  elseif type(plan) ~= "function" then
    error("tg.test.upstream: expected a table or a function, got " .. type(plan), 2)
  end
  local listener = core._test_listen()
  local self = setmetatable({
    listener = listener,
    plan = plan,
    port = listener:port(),
    requests = {},
    connections = 0,
  }, Upstream)
  self.url = "http://127.0.0.1:" .. self.port
  self.task = core.background(listen, self)
  return self
end

return upstream
