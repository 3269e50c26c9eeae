--- A folder's page: HTML, or JSON for who would rather have that.

local accept = require("tidegate.accept")

local listing = {}

local ESCAPES = {
  ["&"] = "&amp;",
  ["<"] = "&lt;",
  [">"] = "&gt;",
  ['"'] = "&quot;",
  ["'"] = "&#39;",
}

--- A name is bytes; a page is UTF-8.
local function text_of(name)
  if utf8.len(name) then
    return name
  end
  return (name:gsub("[\x80-\xff]", "\u{FFFD}"))
end

local function escape(text)
  return (text_of(text):gsub("[&<>\"']", ESCAPES))
end

local function encode(name)
  return (name:gsub("[^A-Za-z0-9%-._~]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

local function time_of(entry)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", entry.modified)
end

--- Folders first, each by name. What is neither file nor folder cannot be served.
local function sorted(entries, hidden)
  local list = {}
  for _, entry in ipairs(entries) do
    if entry.kind ~= "other" and (hidden or entry.name:sub(1, 1) ~= ".") then
      list[#list + 1] = entry
    end
  end
  table.sort(list, function(a, b)
    if a.kind ~= b.kind then
      return a.kind == "folder"
    end
    return a.name < b.name
  end)
  return list
end

-- --- Pages ---------------------------------------------------------------------------------------

local HEAD = [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title>
<style>
body { font-family: sans-serif; margin: 2em }
td { padding: 0.1em 1.5em 0.1em 0 }
td:nth-child(2) { text-align: right }
</style>
</head>
<body>
<h1>%s</h1>
<table>
]]

local ROW = '<tr><td><a href="%s">%s</a></td><td>%s</td><td>%s</td></tr>\n'

local function write_page(out, request, list, about)
  local title = escape(request.path)
  out:write((HEAD:gsub("%%s", (title:gsub("%%", "%%%%")))))
  if not about.top then
    out:write(ROW:format("../", "../", "", ""))
  end
  for _, entry in ipairs(list) do
    local folder = entry.kind == "folder"
    local slash, size = folder and "/" or "", folder and "" or entry.size
    out:write(ROW:format(encode(entry.name) .. slash, escape(entry.name) .. slash, size,
      time_of(entry)))
  end
  out:write("</table>\n", about.more and "<p>… and more</p>\n" or "", "</body>\n</html>\n")
end

local function records(list)
  local out = {}
  for n, entry in ipairs(list) do
    out[n] = {
      name = text_of(entry.name),
      type = entry.kind,
      size = entry.kind == "file" and entry.size or nil,
      modified = time_of(entry),
    }
  end
  return out
end

---@param request tidegate.Request
---@param entries { name: string, kind: string, size: integer, modified: integer }[]
---@param about { hidden?: boolean, more: boolean, top: boolean }
---@return tidegate.Response
function listing.response(request, entries, about)
  local list = sorted(entries, about.hidden)
  local field = request.headers["Accept"]
  local html = accept.media_type(field, "text/html")
  local headers = { Vary = "Accept", ["Content-Type"] = "application/json" }
  if accept.media_type(field, "application/json") > html then
    return { headers = headers, body = records(list) }
  end
  headers["Content-Type"] = "text/html; charset=utf-8"
  return {
    headers = headers,
    body = function(out)
      write_page(out, request, list, about)
    end,
  }
end

return listing
