/** Of the package; a test compares it with `package.json`. */
export const hostVersion = '0.1.0';
