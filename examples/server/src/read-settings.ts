import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { IsthmusError } from '@isthmus/core'
import * as v from 'valibot'
import { parse as parseYaml } from 'yaml'
import {
  flagOf,
  type SettingName,
  type Settings,
  settingNames,
  settingsSchema,
  variableOf,
} from './settings.ts'

/** What somebody who starts the server wants. */
export type Invocation =
  | { readonly kind: 'help' }
  | { readonly kind: 'serve'; readonly settings: Settings }

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads flags over `ISTHMUS_…` variables over the YAML file that `--config` or `ISTHMUS_CONFIG` names.
 *
 * Rejects with `ISTHMUS_CONFIG_INVALID`, naming the key, for one that is unknown or makes no sense.
 */
export async function readSettings(
  args: readonly string[],
  environment: Environment,
): Promise<Invocation> {
  const { help, config, ...flags } = parseFlags(args)
  if (help === true) return { kind: 'help' }
  const path = text(config) ?? environment.ISTHMUS_CONFIG
  const layers = [
    path === undefined ? {} : await readConfigFile(path),
    readVariables(environment),
    readFlags(flags),
  ]
  return { kind: 'serve', settings: layers.reduce(overlay) }
}

type Flags = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>

function parseFlags(args: readonly string[]): Flags {
  const options = Object.fromEntries(
    settingNames.map((name) => [
      flagOf(name).slice(2),
      { type: 'string' as const, multiple: name === 'allowAddress' },
    ]),
  )
  try {
    const own = { config: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const
    return parseArgs({ args: [...args], options: { ...options, ...own } }).values
  } catch (cause) {
    throw invalid(cause instanceof Error ? cause.message : 'the flags make no sense', cause)
  }
}

function readFlags(flags: Flags): Settings {
  const values = settingNames.map((name) => [name, flags[flagOf(name).slice(2)]] as const)
  return check(present(values), flagOf)
}

function readVariables(environment: Environment): Settings {
  const values = settingNames.map((name) => [name, environment[variableOf(name)]] as const)
  // Set and empty is how a variable is taken back.
  return check(present(values.filter(([, value]) => value !== '')), variableOf)
}

async function readConfigFile(path: string): Promise<Settings> {
  let value: unknown
  try {
    value = parseYaml(await readFile(path, 'utf8')) ?? {}
  } catch (cause) {
    throw invalid(`${path} cannot be read: ${cause instanceof Error ? cause.message : ''}`, cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${path} must hold keys with their values`)
  }
  return check(value, (name) => `${name} in ${path}`)
}

function present(values: readonly (readonly [SettingName, unknown])[]): object {
  return Object.fromEntries(values.filter(([, value]) => value !== undefined))
}

function check(values: object, spell: (name: SettingName) => string): Settings {
  const result = v.safeParse(settingsSchema, values)
  if (result.success) return oneStorage(result.output, spell)
  const [issue] = result.issues
  const key = String(issue.path?.[0]?.key)
  const name = settingNames.find((known) => known === key)
  if (name === undefined) throw invalid(`${spell(key as SettingName)} is no setting`)
  throw invalid(`${spell(name)} ${firstMessage(issue)}`)
}

/** The most telling message: the one for what was given, not for the union around it. */
function firstMessage(issue: v.BaseIssue<unknown>): string {
  const messages = [issue.message, ...(issue.issues ?? []).map(({ message }) => message)]
  return messages.find((message) => message.startsWith('must')) ?? 'makes no sense'
}

function oneStorage(settings: Settings, spell: (name: SettingName) => string): Settings {
  if (settings.data === undefined || settings.memory === undefined) return settings
  throw invalid(`${spell('data')} and ${spell('memory')} exclude each other`)
}

/** `upper` over `lower`: where it says how to keep data, the other way of doing so is off. */
function overlay(lower: Settings, upper: Settings): Settings {
  const { data, memory, ...rest } = lower
  const keepsAnew = upper.data !== undefined || upper.memory !== undefined
  return { ...(keepsAnew ? rest : lower), ...upper }
}

function text(value: Flags[string]): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function invalid(problem: string, cause?: unknown): IsthmusError {
  return new IsthmusError('ISTHMUS_CONFIG_INVALID', problem, { cause })
}
