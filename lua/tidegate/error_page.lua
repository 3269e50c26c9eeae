--- What --dev shows of an unhandled error: a page for browsers, text for the others.

local error_page = {}

local FRAMES_MAX = 20
local AROUND = 4 -- source lines on each side of a frame's own
local LINE_MAX = 200 -- bytes
local VALUE_DEPTH, VALUE_ITEMS = 3, 40
local SOURCE_MAX = 1 << 20 -- bytes of a file that is looked into
local PAGE_MAX = 60000
local SECRET = {
  ["authorization"] = true, ["cookie"] = true, ["proxy-authorization"] = true,
  ["x-api-key"] = true, ["x-auth-token"] = true,
}

--- Shown as it is in text; what would move a cursor or end a line is not.
local function plain(text, max)
  text = tostring(text)
  if max and #text > max then
    text = text:sub(1, max) .. "…"
  end
  return (text:gsub("[%c\x7f]", function(char)
    return char == "\t" and "  " or ("\\x%02x"):format(char:byte())
  end))
end

local ENTITIES = {
  ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;",
}

local function escape(text, max)
  return (plain(text, max):gsub("[&<>\"']", ENTITIES))
end

--- Escapes line by line, so that line breaks stay.
local function escape_lines(text)
  local lines = {}
  for line in (tostring(text) .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = escape(line, 1000)
  end
  return table.concat(lines, "\n")
end

-- --- Frames -----------------------------------------------------------------------------------

--- The file that a frame names: Lua shortens long names to "...end/of/path".
local function resolve(name, files)
  if name:sub(1, 3) ~= "..." then
    return name
  end
  local tail = name:sub(4)
  for _, path in ipairs(files) do
    if path:sub(-#tail) == tail then
      return path
    end
  end
end

local function is_known(path, files)
  for _, known in ipairs(files) do
    if known == path then
      return true
    end
  end
  return false
end

--- { number, text } of the lines around one of a file that the script was loaded from.
local function source_around(name, number, files)
  local path = resolve(name, files)
  if not path or not is_known(path, files) then
    return nil
  end
  local file <close> = io.open(path, "rb")
  local text = file and file:read(SOURCE_MAX)
  if not text then
    return nil
  end
  local lines, n = {}, 0
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    n = n + 1
    if n > number + AROUND then
      break
    end
    if n >= number - AROUND then
      lines[#lines + 1] = { n, line }
    end
  end
  return #lines > 0 and lines or nil
end

--- { where, what, number, source } for each line of a traceback.
local function frames_of(traceback, files)
  local frames = {}
  for line in (traceback or ""):gmatch("[^\n]+") do
    local where, number, what = line:match("^%s+(.-):(%d+): in (.*)$")
    if not where then
      where, what = line:match("^%s+(%[C%]): in (.*)$")
    end
    if where and #frames < FRAMES_MAX then
      number = tonumber(number)
      frames[#frames + 1] = {
        where = number and where .. ":" .. number or where,
        what = what,
        number = number,
        source = number and source_around(where, number, files),
      }
    end
  end
  return frames
end

-- --- What was raised, and the request -----------------------------------------------------------

--- A few lines for a value of the script's, whatever it is; metamethods are not called.
local function dump(value, indent, depth, lines)
  if type(value) ~= "table" then
    local text = type(value) == "string" and ("%q"):format(value:sub(1, LINE_MAX))
    return text or (type(value) == "number" or type(value) == "boolean") and tostring(value)
      or "(a " .. type(value) .. ")"
  end
  if depth == 0 then
    return "{ … }"
  end
  local items = 0
  for key, item in next, value do
    items = items + 1
    if items > VALUE_ITEMS or #lines > VALUE_ITEMS * 4 then
      lines[#lines + 1] = indent .. "…"
      break
    end
    local place = #lines + 1
    lines[place] = ""
    local shown = dump(item, indent .. "  ", depth - 1, lines)
    local name = type(key) == "string" and plain(key, 60) or dump(key, "", 0, {})
    lines[place] = indent .. name .. (shown == "" and ":" or ": " .. plain(shown, LINE_MAX))
  end
  return items == 0 and "{}" or ""
end

local function value_lines(err)
  if type(err.value) ~= "table" then
    return nil
  end
  local lines = {}
  dump(err.value, "", VALUE_DEPTH, lines)
  return #lines > 0 and lines or nil
end

local function header_lines(request)
  local lines = {}
  for name, value in pairs(request.headers) do
    lines[#lines + 1] = { name, SECRET[name:lower()] and "(not shown)" or value }
  end
  table.sort(lines, function(a, b)
    return a[1] < b[1]
  end)
  return lines
end

local function facts(err, request, route)
  return {
    { "route", route },
    { "stage", err.stage or "-" },
    { "interceptor", err.interceptor or "-" },
    { "request", request.method .. " " .. request.target .. " " .. request.protocol },
    { "id", request.id },
    { "client", request.remote_addr },
  }
end

-- --- Text -------------------------------------------------------------------------------------

local function as_text(page)
  local out = { ("%d %s\n"):format(page.status, page.reason), page.message, "" }
  local function add(...)
    out[#out + 1] = table.concat({ ... })
  end
  for _, fact in ipairs(page.facts) do
    add(("%-12s "):format(fact[1] .. ":"), plain(fact[2], LINE_MAX))
  end
  for _, line in ipairs(page.value or {}) do
    add("  ", line)
  end
  for _, frame in ipairs(page.frames) do
    add("\n", plain(frame.where), ": in ", plain(frame.what))
    for _, line in ipairs(frame.source or {}) do
      local mark = line[1] == frame.number and ">" or " "
      add(("%s %4d  "):format(mark, line[1]), plain(line[2], LINE_MAX))
    end
  end
  for _, earlier in ipairs(page.suppressed) do
    add("\nbefore it: ", plain(earlier, 1000))
  end
  return table.concat(out, "\n") .. "\n"
end

-- --- HTML -------------------------------------------------------------------------------------

local STYLE = [[
:root{color-scheme:light dark;--line:#8884;--mark:#e0433622;--accent:#c9382b}
@media(prefers-color-scheme:dark){:root{--accent:#ff8a7d}}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:2rem 1rem}
h1{font-size:1rem;color:var(--accent);margin:0}
.message{font-size:1.25rem;margin:.5rem 0 1.5rem;white-space:pre-wrap;overflow-wrap:anywhere}
h2{font-size:1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}
td,th{border-top:1px solid var(--line);padding:.25rem .75rem .25rem 0;text-align:left}
td,th{vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600;white-space:nowrap;width:10rem}
pre,code{font:13px/1.5 ui-monospace,monospace}
pre{border:1px solid var(--line);border-radius:6px;margin:.25rem 0 1rem;padding:.5rem 0}
pre{overflow-x:auto}
pre span{display:block;padding:0 .75rem}
pre .at{background:var(--mark);box-shadow:inset 3px 0 var(--accent)}
summary{cursor:pointer;overflow-wrap:anywhere}
footer{color:#888;margin-top:2rem}
]]

local function rows(list)
  local out = {}
  for _, row in ipairs(list) do
    out[#out + 1] = ("<tr><th>%s</th><td><code>%s</code></td></tr>"):format(
      escape(row[1], LINE_MAX), escape(row[2], 1000))
  end
  return "<table>" .. table.concat(out) .. "</table>"
end

local function frame_html(frame, open)
  local title = ("<code>%s</code> in %s"):format(escape(frame.where), escape(frame.what))
  if not frame.source then
    return "<p>" .. title .. "</p>"
  end
  local lines = {}
  for _, line in ipairs(frame.source) do
    lines[#lines + 1] = ("<span%s>%4d  %s</span>"):format(
      line[1] == frame.number and ' class="at"' or "", line[1], escape(line[2], LINE_MAX))
  end
  return ("<details%s><summary>%s</summary><pre>%s</pre></details>"):format(
    open and " open" or "", title, table.concat(lines))
end

local function as_html(page)
  local out = {
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">",
    "<meta name=\"viewport\" content=\"width=device-width\">",
    ("<title>%d %s</title><style>%s</style>"):format(page.status, escape(page.reason), STYLE),
    ("<h1>%d %s</h1>"):format(page.status, escape(page.reason)),
    ('<p class="message">%s</p>'):format(escape_lines(page.message)),
    rows(page.facts),
  }
  local function add(text)
    out[#out + 1] = text
  end
  if page.value then
    add("<h2>What was raised</h2><pre>")
    for _, line in ipairs(page.value) do
      add("<span>" .. escape(line) .. "</span>")
    end
    add("</pre>")
  end
  if #page.frames > 0 then
    add("<h2>Traceback</h2>")
    local open = true
    for _, frame in ipairs(page.frames) do
      add(frame_html(frame, open))
      open = open and not frame.source
    end
  end
  for _, earlier in ipairs(page.suppressed) do
    add(('<h2>Before it</h2><p class="message">%s</p>'):format(escape_lines(earlier)))
  end
  if #page.headers > 0 then
    add("<h2>Request headers</h2>" .. rows(page.headers))
  end
  add("<footer>tidegate --dev shows this page; without it there is none of it.</footer></html>")
  return table.concat(out, "\n")
end

-- --- JSON -------------------------------------------------------------------------------------

local function quote(text)
  return '"' .. tostring(text):gsub('[%c"\\\x7f]', function(char)
    return ("\\u%04x"):format(char:byte())
  end) .. '"'
end

local function as_json(page)
  local out = {
    '"status":' .. page.status,
    '"message":' .. quote(page.message),
    '"traceback":' .. quote(page.traceback or ""),
  }
  for _, fact in ipairs(page.facts) do
    out[#out + 1] = quote(fact[1]) .. ":" .. quote(fact[2])
  end
  return "{" .. table.concat(out, ",") .. "}\n"
end

-- --- Which ------------------------------------------------------------------------------------

local KINDS = {
  { "text/plain", "text/plain; charset=utf-8", as_text },
  { "text/html", "text/html; charset=utf-8", as_html },
  { "application/json", "application/json", as_json },
}

--- How much a client wants a media type (RFC 9110, 12.5.1): the closest range decides.
local function quality(accept, wanted)
  local best, closeness = 0, 0
  for range in accept:gmatch("[^,]+") do
    local name = range:match("^%s*([^;%s]+)") or ""
    local close = name == wanted and 3 or name == wanted:match("^[^/]+") .. "/*" and 2
      or name == "*/*" and 1 or 0
    if close > closeness then
      best, closeness = tonumber(range:match(";%s*[qQ]=([%d.]+)")) or 1, close
    end
  end
  return best
end

local function choose(accept)
  local chosen, most = KINDS[1], 0
  for _, kind in ipairs(KINDS) do
    local q = quality(accept or "*/*", kind[1])
    if q > most then
      chosen, most = kind, q
    end
  end
  return chosen
end

--- The files that Lua code was loaded from: the script, and what package.loaded was found in.
local function known_files(script)
  local files = { script }
  for name in next, package.loaded do
    local path = type(name) == "string" and package.searchpath(name, package.path)
    if path then
      files[#files + 1] = path
    end
  end
  return files
end

--- For the gateway: Content-Type and body.
---@param err tidegate.Err
---@param request tidegate.Request
---@param about { route: string, reason: string, script: string }
---@return string content_type
---@return string body
function error_page.make(err, request, about)
  local suppressed = {}
  for _, earlier in ipairs(err.suppressed or {}) do
    suppressed[#suppressed + 1] = tostring(earlier.message)
  end
  local page = {
    status = err.status,
    reason = about.reason,
    message = tostring(err.message):sub(1, 4000),
    facts = facts(err, request, about.route),
    value = value_lines(err),
    traceback = err.traceback,
    frames = frames_of(err.traceback, known_files(about.script)),
    suppressed = suppressed,
    headers = header_lines(request),
  }
  local kind = choose(request.headers["accept"])
  local body = kind[3](page)
  if #body > PAGE_MAX then
    page.frames, page.value = {}, nil
    body = kind[3](page)
  end
  return kind[2], body:sub(1, PAGE_MAX)
end

return error_page
