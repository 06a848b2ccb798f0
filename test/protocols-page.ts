/**
 * Makes docs/protocols.md from the pages in docs/protocols, which stand beside each other so that a new protocol edits
 * no page of another.
 *
 *   npm run docs
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

const FOLDER = new URL('../docs/protocols/', import.meta.url)

const names = readdirSync(FOLDER)
  .filter(name => name.endsWith('.md'))
  .sort()
const pages = names.map(name => ({ name, text: readFileSync(new URL(name, FOLDER), 'utf8').trim() }))
const titled = pages.map(({ name, text }) => ({ name, text, title: /^# (.*)$/m.exec(text)?.[1] ?? name }))
const contents = titled.map(({ title }) => `- [${title}](#${anchor(title)})`)
const chapters = titled.map(({ text }) =>
  text
    .replace(/^(#+) /gm, '#$1 ')
    // Links to the neighbours lead to their chapters.
    .replace(/\]\((\w[\w-]*)\.md\)/g, (whole, name) => {
      const found = titled.find(page => page.name === `${name}.md`)
      return found === undefined ? whole : `](#${anchor(found.title)})`
    }),
)
writeFileSync(
  new URL('../docs/protocols.md', import.meta.url),
  `# Protocols

What is read of each protocol, what is not, and where tshark counts differently. Made by \`npm run docs\` from the pages in
\`docs/protocols/\`. \`npm run corpus\` compares with real captures, \`bench/protocols.ts\` tells what each costs.

${contents.join('\n')}

${chapters.join('\n\n')}
`,
)

/** As Markdown readers make it of a heading. */
function anchor(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')
}
