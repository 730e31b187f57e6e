import { flagOf, settingNames, settingsHelp } from './settings.ts'

/** What `--help` says. */
export function helpText(): string {
  const flags = settingNames.map((name): [string, string] => {
    const { value, text } = settingsHelp[name]
    return [`${flagOf(name)} ${value}`, text]
  })
  flags.push(['--config FILE', 'YAML with the same settings, as torrentPort: 6881'])
  flags.push(['--help', 'this'])
  const width = Math.max(...flags.map(([flag]) => flag.length)) + 2
  return [
    'Serves files of torrents over HTTP while they download.',
    '',
    ...flags.map(([flag, text]) => `  ${flag.padEnd(width)}${text}`),
    '',
    'Each is also an environment variable, as ISTHMUS_TORRENT_PORT. Flags win over variables, and',
    'variables over the file.',
  ].join('\n')
}
