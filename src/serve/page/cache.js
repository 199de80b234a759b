export class CacheView { constructor() {} }
