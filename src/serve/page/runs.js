export class RunsView { constructor() {} }
