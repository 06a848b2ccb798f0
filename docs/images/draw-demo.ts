/**
 * Draws demo.svg from what `hookline demo` really prints: `node docs/images/draw-demo.ts`. The picture leaves lines out,
 * and shows where.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const COLUMNS = 126
const CELL = { width: 8.2, height: 18, font: 13.6 }
const MARGIN = 22
const BAR = 34
const COLORS: Record<string, string> = {
  31: '#ff7b72',
  32: '#7ee787',
  33: '#e3b341',
  34: '#79c0ff',
  36: '#76e3ea',
}
const INK = '#d6deeb'
const FAINT = '#7d8ba0'

interface Style {
  color: string
  back: string | null
  bold: boolean
}
interface Run extends Style {
  text: string
  column: number
}

const home = fileURLToPath(new URL('../..', import.meta.url))
const { stdout, status } = spawnSync(`${home}hookline`, ['demo'], {
  cwd: home,
  encoding: 'utf8',
  env: { ...process.env, FORCE_COLOR: '3', COLUMNS: String(COLUMNS) },
})
if (status !== 0) throw new Error(`the demo ended with ${status}`)
writeFileSync(new URL('demo.svg', import.meta.url), draw(choose(stdout.split('\n'))))

/** From the command to the first alert, the last table of routes, and the summary. */
function choose(lines: string[]): string[] {
  const plain = lines.map(line => line.replace(/\x1b\[[\d;]*m/g, ''))
  const first = plain.findIndex(line => line.startsWith('$ '))
  const alert = plain.findIndex(line => line.startsWith('▌'))
  const alertEnd = plain.findIndex((line, i) => i > alert && line === '')
  const tables = plain.flatMap((line, i) => (/p95 +worst/.test(line) ? [i] : []))
  const summary = plain.findIndex(line => /items +pairs/.test(line))
  const end = plain.findIndex((line, i) => i > summary && line.startsWith('deliveries:'))
  const gap = '\x1b[2m  ⋮\x1b[0m'
  const last = tables.filter(i => i < summary).at(-1)!
  return [...lines.slice(first, alertEnd), gap, ...lines.slice(last, last + 6), gap, ...lines.slice(summary, end + 1)]
}

function draw(lines: string[]): string {
  const width = MARGIN * 2 + COLUMNS * CELL.width
  const height = BAR + MARGIN + lines.length * CELL.height + MARGIN / 2
  const text = lines.map((line, i) => row(line, BAR + MARGIN + i * CELL.height)).join('\n')
  const lights = ['#ff5f57', '#febc2e', '#28c840'].map(
    (color, i) => `<circle cx="${20 + i * 20}" cy="17" r="6" fill="${color}"/>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${Math.ceil(width)} ${Math.ceil(height)}" role="img" aria-label="Terminal: a table of HTTP, DNS and Redis traffic, a burst of 503 answers, the alert that reaches Slack, the slowest routes, and a summary">
<rect width="100%" height="100%" rx="10" fill="#0d1420"/>
<rect width="100%" height="${BAR}" rx="10" fill="#182235"/><rect y="${BAR - 10}" width="100%" height="10" fill="#182235"/>
${lights.join('')}
<g font-family="ui-monospace, 'SF Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="${CELL.font}" xml:space="preserve">
${text}
</g>
</svg>
`
}

function row(line: string, y: number): string {
  return runs(line)
    .filter(({ text, back }) => text.trim() !== '' || back !== null)
    .map(({ text, column, color, back, bold }) => {
      const x = (MARGIN + column * CELL.width).toFixed(1)
      const length = ([...text].length * CELL.width).toFixed(1)
      const box =
        back === null
          ? ''
          : `<rect x="${x}" y="${(y - 13).toFixed(1)}" width="${length}" height="${CELL.height - 2}" rx="3" fill="${back}"/>`
      const weight = bold ? ' font-weight="bold"' : ''
      return `${box}<text x="${x}" y="${y.toFixed(1)}" fill="${color}" textLength="${length}"${weight}>${escaped(text)}</text>`
    })
    .join('')
}

function runs(line: string): Run[] {
  const found: Run[] = []
  let style: Style = { color: INK, back: null, bold: false }
  let column = 0
  for (const [, code, text] of line.matchAll(/\x1b\[([\d;]*)m|([^\x1b]+)/g)) {
    if (code !== undefined) style = styled(code.split(';').map(Number), style)
    else {
      // Blanks stand apart, so that what lies between them keeps its place in any font.
      for (const part of text!.split(/( {2,})/)) {
        if (part !== '') found.push({ ...style, text: part, column })
        column += [...part].length
      }
    }
  }
  return found
}

function styled(codes: number[], before: Style): Style {
  const style = { ...before }
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!
    if (code === 0) Object.assign(style, { color: INK, back: null, bold: false })
    else if (code === 1) style.bold = true
    else if (code === 2) style.color = FAINT
    else if (code === 38 || code === 48) {
      const color = `rgb(${codes.slice(i + 2, i + 5).join(',')})`
      if (code === 38) style.color = color
      else style.back = color
      i += 4
    } else style.color = COLORS[code] ?? style.color
  }
  return style
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
