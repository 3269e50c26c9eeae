--- What --dev shows of an unhandled error: a page for browsers, text for the others.

local json = require("tidegate.core").json

local error_page = {}

local FRAMES_MAX = 20
local AROUND = 4 -- source lines on each side of a frame's own
local LINE_MAX = 200 -- bytes
local VALUE_DEPTH, VALUE_ITEMS = 3, 40
local SOURCE_MAX = 1 << 20 -- bytes of a file that is looked into
local PAGE_MAX = 60000
local MESSAGE_MAX = 4000
local ERRORS_MAX = 5 -- that one came of another
local SECRET = {
  ["authorization"] = true, ["cookie"] = true, ["proxy-authorization"] = true,
  ["x-api-key"] = true, ["x-auth-token"] = true,
}

--- UTF-8, whatever it was; what is not is shown by its bytes.
local function utf8_of(text)
  local out, from = {}, 1
  while true do
    local _, bad = utf8.len(text, from)
    if not bad then
      out[#out + 1] = text:sub(from)
      return table.concat(out)
    end
    out[#out + 1] = text:sub(from, bad - 1) .. ("\\x%02x"):format(text:byte(bad))
    from = bad + 1
  end
end

--- At most max bytes of it, and no part of a character.
local function cut(text, max)
  if #text <= max then
    return text
  end
  while max > 0 and (text:byte(max + 1) or 0) & 0xC0 == 0x80 do
    max = max - 1
  end
  return text:sub(1, max) .. "…"
end

--- One line of text: what would move a terminal's cursor, or end the line, is shown as an escape.
local function plain(text, max)
  text = utf8_of(cut(tostring(text), max or LINE_MAX))
  return (text:gsub("[%c\x7f]", function(char)
    return char == "\t" and "  " or ("\\x%02x"):format(char:byte())
  end))
end

--- The same line by line.
local function plain_lines(text)
  local lines = {}
  for line in (cut(text, MESSAGE_MAX) .. "\n"):gmatch("(.-)\r?\n") do
    lines[#lines + 1] = plain(line, 1000)
  end
  return table.concat(lines, "\n")
end

local ENTITIES = {
  ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;",
}

local function escape(text, max)
  return (plain(text, max):gsub("[&<>\"']", ENTITIES))
end

local function escape_lines(text)
  return (plain_lines(text):gsub("[&<>\"']", ENTITIES))
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

--- Where a message says that it comes from: not in the traceback when it was raised again, by a
--- coroutine or a task.
local function places_of(message, frames, files)
  local seen = {}
  for _, frame in ipairs(frames) do
    seen[frame.where] = true
  end
  while true do
    local where, number, rest = message:match("^([^\n]-):(%d+): (.*)$")
    if not where then
      return
    end
    local place = where .. ":" .. number
    local source = not seen[place] and source_around(where, tonumber(number), files)
    if source then
      table.insert(frames, 1,
        { where = place, what = "the message", number = tonumber(number), source = source })
    end
    seen[place], message = true, rest
  end
end

--- { where, what, number, source } for each line of a traceback that says something.
local function frames_of(err, message, files)
  local frames = {}
  for line in tostring(err.traceback or ""):gmatch("[^\n]+") do
    local where, number, what = line:match("^%s+(.-):(%d+): in (.*)$")
    if not where then
      where, what = line:match("^%s+(%[C%]): in (.*)$")
    end
    if where and what ~= "?" and #frames < FRAMES_MAX then
      number = tonumber(number)
      frames[#frames + 1] = {
        where = number and where .. ":" .. number or where,
        what = what,
        number = number,
        source = number and source_around(where, number, files),
      }
    end
  end
  places_of(message, frames, files)
  return frames
end

-- --- What was raised, and the request -----------------------------------------------------------

local function dump_scalar(value)
  local kind = type(value)
  if kind == "string" then
    return '"' .. plain(value) .. '"'
  end
  return (kind == "number" or kind == "boolean") and tostring(value) or "(a " .. kind .. ")"
end

--- Its keys in an order: numbers, then strings, then the others as they come.
local function keys_of(value)
  local ranks, keys = { number = 1, string = 2 }, {}
  for key in next, value do
    keys[#keys + 1] = key
    if #keys > 10 * VALUE_ITEMS then
      break
    end
  end
  table.sort(keys, function(a, b)
    local rank_a, rank_b = ranks[type(a)] or 3, ranks[type(b)] or 3
    if rank_a ~= rank_b or rank_a == 3 then
      return rank_a < rank_b
    end
    return a < b
  end)
  return keys
end

--- A few lines for a value of the script's, whatever it is; metamethods are not called.
local function dump(value, indent, depth, lines)
  if type(value) ~= "table" then
    return dump_scalar(value)
  elseif depth == 0 then
    return "{ … }"
  end
  local keys = keys_of(value)
  for n, key in ipairs(keys) do
    if n > VALUE_ITEMS or #lines > VALUE_ITEMS * 4 then
      lines[#lines + 1] = indent .. "…"
      break
    end
    local place = #lines + 1
    lines[place] = ""
    local shown = dump(rawget(value, key), indent .. "  ", depth - 1, lines)
    local name = type(key) == "string" and plain(key, 60) or dump_scalar(key)
    lines[place] = indent .. name .. (shown == "" and ":" or ": " .. shown)
  end
  return #keys == 0 and "{}" or ""
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

local function facts_of(err, request, route)
  return {
    { "route", route },
    { "stage", err.stage or "-" },
    { "interceptor", err.interceptor or "-" },
    { "request", request.method .. " " .. request.target .. " " .. request.protocol },
    { "id", request.id },
    { "client", request.remote_addr },
  }
end

--- The error, the one that it came in place of, and so on.
local function errors_of(err, files)
  local list = {}
  while type(err) == "table" and #list < ERRORS_MAX do
    local message = cut(tostring(err.message), MESSAGE_MAX)
    list[#list + 1] = {
      message = message,
      where = (err.stage or "-") .. (err.interceptor and " of " .. err.interceptor or ""),
      value = value_lines(err),
      frames = frames_of(err, message, files),
      traceback = tostring(err.traceback or ""),
    }
    err = type(err.suppressed) == "table" and err.suppressed[1] or nil
  end
  return list
end

-- --- Text -------------------------------------------------------------------------------------

local function add_error_text(add, problem)
  for _, line in ipairs(problem.value or {}) do
    add("  ", line)
  end
  for _, frame in ipairs(problem.frames) do
    add("\n", plain(frame.where), ": in ", plain(frame.what))
    for _, line in ipairs(frame.source or {}) do
      local mark = line[1] == frame.number and ">" or " "
      add(("%s %4d  "):format(mark, line[1]), plain(line[2]))
    end
  end
end

local function as_text(page)
  local out = {}
  local function add(...)
    out[#out + 1] = table.concat({ ... })
  end
  add(page.status, " ", page.reason, "\n")
  add(plain_lines(page.errors[1].message), "\n")
  for _, fact in ipairs(page.facts) do
    add(("%-12s "):format(fact[1] .. ":"), plain(fact[2]))
  end
  for n, problem in ipairs(page.errors) do
    if n > 1 then
      add("\nbefore it, in ", plain(problem.where), ": ", plain_lines(problem.message))
    end
    add_error_text(add, problem)
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
h2+.message{font-size:1rem;margin:.25rem 0 1rem}
.aside{opacity:.65;margin:.25rem 0}
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
      escape(row[1]), escape(row[2], 1000))
  end
  return "<table>" .. table.concat(out) .. "</table>"
end

local function frame_html(frame, open)
  local title = ("<code>%s</code> in %s"):format(escape(frame.where), escape(frame.what))
  if not frame.source then
    return '<p class="aside">' .. title .. "</p>"
  end
  local lines = {}
  for _, line in ipairs(frame.source) do
    lines[#lines + 1] = ("<span%s>%4d  %s</span>"):format(
      line[1] == frame.number and ' class="at"' or "", line[1], escape(line[2]))
  end
  return ("<details%s><summary>%s</summary><pre>%s</pre></details>"):format(
    open and " open" or "", title, table.concat(lines))
end

local function add_error_html(add, problem)
  if problem.value then
    local lines = {}
    for n, line in ipairs(problem.value) do
      lines[n] = "<span>" .. escape(line, 1000) .. "</span>"
    end
    add("<h2>What was raised</h2><pre>" .. table.concat(lines) .. "</pre>")
  end
  if #problem.frames > 0 then
    add("<h2>Traceback</h2>")
  end
  local open = true
  for _, frame in ipairs(problem.frames) do
    add(frame_html(frame, open))
    open = open and not frame.source
  end
end

local function as_html(page)
  local status = ("%d %s"):format(page.status, escape(page.reason))
  local out = {
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">",
    "<meta name=\"viewport\" content=\"width=device-width\">",
    ("<title>%s: %s</title>"):format(status, escape(page.errors[1].message, 100)),
    ("<style>%s</style><h1>%s</h1>"):format(STYLE, status),
    ('<p class="message">%s</p>'):format(escape_lines(page.errors[1].message)),
    rows(page.facts),
  }
  local function add(text)
    out[#out + 1] = text
  end
  for n, problem in ipairs(page.errors) do
    if n > 1 then
      add(("<h2>Before it, in %s</h2>"):format(escape(problem.where)))
      add(('<p class="message">%s</p>'):format(escape_lines(problem.message)))
    end
    add_error_html(add, problem)
  end
  if #page.headers > 0 then
    add("<h2>Request headers</h2>" .. rows(page.headers))
  end
  add("<footer>tidegate --dev shows this page; without it there is none of it.</footer></html>")
  return table.concat(out, "\n")
end

-- --- JSON -------------------------------------------------------------------------------------

local function as_json(page)
  local suppressed = {}
  for n = 2, #page.errors do
    suppressed[n - 1] = plain_lines(page.errors[n].message)
  end
  local value = {
    status = page.status,
    message = plain_lines(page.errors[1].message),
    traceback = plain_lines(page.errors[1].traceback),
    suppressed = json.array(suppressed),
  }
  for _, fact in ipairs(page.facts) do
    value[fact[1]] = plain(fact[2])
  end
  return json.encode(value) .. "\n"
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
  local page = {
    status = err.status,
    reason = about.reason,
    facts = facts_of(err, request, about.route),
    errors = errors_of(err, known_files(about.script)),
    headers = header_lines(request),
  }
  local kind = choose(request.headers["accept"])
  local body = kind[3](page)
  if #body > PAGE_MAX then
    local first = page.errors[1]
    first.frames, first.value, first.traceback = {}, nil, ""
    page.errors, page.headers = { first }, {}
    body = kind[3](page)
  end
  return kind[2], body
end

return error_page
