-- output.lua - the results: a table for the terminal, JSON, and a chart as SVG.
local M = {}

local results = {}

--- One line: workload, tidegate's cost and the peers' in microseconds of processor time for a unit, ratio to
--- the best of them, goal; memory in KiB.
function M.add(result)
  results[#results + 1] = result
  local ratio = result.ratio and ("%.2f"):format(result.ratio) or "-"
  local against = result.peer and ("%s (%.2f to %.2f)"):format(result.peer, result.least, result.most) or result.note or ""
  local goal = result.goal and ("goal %.1f"):format(result.goal) or ""
  local memory = result.memory_kib and ("%d KiB"):format(result.memory_kib) or ""
  if result.peer_memory_kib then memory = memory .. (" / %d"):format(result.peer_memory_kib) end
  io.stderr:write(("%-52s %6s  %-32s %-9s %s\n"):format(result.workload, ratio, against, goal, memory))
end

function M.title(text) io.stderr:write("\n", text, "\n") end

-- --- JSON ------------------------------------------------------------------------------------------

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function encode(value)
  if type(value) ~= "table" then
    return type(value) == "string" and quoted(value)
      or math.type(value) == "float" and ("%.4g"):format(value) or tostring(value)
  end
  local parts = {}
  if value[1] ~= nil or next(value) == nil then
    for i, item in ipairs(value) do parts[i] = encode(item) end
    return "[" .. table.concat(parts, ",\n") .. "]"
  end
  local names = {}
  for name in pairs(value) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = quoted(name) .. ": " .. encode(value[name]) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

-- --- The chart ---------------------------------------------------------------------------------------

local ROW, LEFT, WIDE = 22, 380, 420

local function escaped(text) return (text:gsub("[<>&]", { ["<"] = "&lt;", [">"] = "&gt;", ["&"] = "&amp;" })) end

-- Bars of the ratio to the best peer; the line is where both cost the same.
local function chart(rows, subtitle)
  local height = 70 + ROW * #rows
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">'):format(
      LEFT + WIDE + 130, height),
    '<rect width="100%" height="100%" fill="#fff"/>',
    '<text x="12" y="20" font-size="15" font-weight="bold">Processor time of the server, of the best peer\'s: lower is better</text>',
    ('<text x="12" y="38" fill="#555">%s</text>'):format(escaped(subtitle)),
  }
  local function place(ratio) return LEFT + math.min(ratio, 2) / 2 * WIDE end
  for i, row in ipairs(rows) do
    local y = 50 + (i - 1) * ROW
    local colour = row.ratio <= 1 and "#2a7f62" or "#b5651d"
    out[#out + 1] = ('<text x="%d" y="%d" text-anchor="end">%s</text>'):format(LEFT - 8, y + 14, escaped(row.workload))
    out[#out + 1] = ('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>'):format(
      LEFT, y + 3, place(row.ratio) - LEFT, ROW - 6, colour)
    out[#out + 1] = ('<text x="%.1f" y="%d">%.2f of %s</text>'):format(place(row.ratio) + 6, y + 14, row.ratio, escaped(row.peer))
    if row.goal then
      out[#out + 1] = ('<path d="M%.1f %d v%d" stroke="#000" stroke-dasharray="2 2"/>'):format(place(row.goal), y + 1, ROW - 2)
    end
  end
  out[#out + 1] = ('<path d="M%.1f 46 V%d" stroke="#888"/>'):format(place(1), height - 16)
  out[#out + 1] = ('<text x="%d" y="%d" fill="#555">dashed: the goal</text></svg>'):format(LEFT, height - 4)
  return table.concat(out, "\n") .. "\n"
end

--- Writes PATH.json and PATH.svg.
function M.write(path, about)
  local rows = {}
  for _, result in ipairs(results) do
    if result.ratio and not result.growth then rows[#rows + 1] = result end
  end
  local json <close> = assert(io.open(path .. ".json", "w"))
  json:write(encode({ about = about, results = results }), "\n")
  local svg <close> = assert(io.open(path .. ".svg", "w"))
  svg:write(chart(rows, about.machine .. ", " .. about.date))
end

return M
