/** Of the package; a test compares it with `package.json`. */
export const agentVersion = '0.1.0';
